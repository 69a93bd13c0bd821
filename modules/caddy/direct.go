// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// handsAllToGateway reports whether the server, as configured, would do nothing with any request but give it to the
// `ando` handler. It is called before the server's routes are provisioned. When in doubt the answer is no: then Caddy's
// server serves.
func handsAllToGateway(s *caddyhttp.Server) bool {
	if s.Logs != nil || s.Errors != nil || s.Metrics != nil || s.TrustedProxiesRaw != nil || len(s.NamedRoutes) > 0 ||
		s.StrictSNIHost != nil && *s.StrictSNIHost || len(s.ExpectedUnderscoreHeaders) > 0 || len(s.ExpectedDotHeaders) > 0 ||
		s.ReadTimeout > 0 || s.WriteTimeout > 0 {
		return false
	}
	return onlyGateway(s.Routes)
}

// onlyGateway reports whether a route list comes down to one `ando` handler for every request.
func onlyGateway(routes caddyhttp.RouteList) bool {
	if len(routes) != 1 || len(routes[0].MatcherSetsRaw) > 0 || len(routes[0].HandlersRaw) != 1 {
		return false
	}
	var handler struct {
		Handler string              `json:"handler"`
		Routes  caddyhttp.RouteList `json:"routes"`
		Errors  json.RawMessage     `json:"errors"`
	}
	if json.Unmarshal(routes[0].HandlersRaw[0], &handler) != nil {
		return false
	}
	switch handler.Handler {
	case "ando":
		return true
	case "subroute":
		return handler.Errors == nil && onlyGateway(handler.Routes)
	}
	return false
}
