// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/andogate/ando/modules/lane"
)

// gatewayHosts reports whether the server, as configured, would do nothing with a request but give it to the `ando`
// handler, and for which hosts: nil means all. It is called when the matchers of the server's routes have been provisioned,
// which automatic HTTPS needs first, and their handlers have not. When in doubt the answer is no: then Caddy's server serves.
func gatewayHosts(s *caddyhttp.Server) (hosts *lane.Hosts, ok bool) {
	if s.Logs != nil || s.Errors != nil || s.Metrics != nil || s.TrustedProxiesRaw != nil || len(s.NamedRoutes) > 0 ||
		s.StrictSNIHost != nil && *s.StrictSNIHost || s.TLSConnPolicies != nil && hasClientAuth(s) ||
		len(s.ExpectedUnderscoreHeaders) > 0 || len(s.ExpectedDotHeaders) > 0 || s.ReadTimeout > 0 || s.WriteTimeout > 0 {
		return nil, false
	}
	var names []string
	for _, route := range s.Routes {
		if !onlyGateway(route.HandlersRaw) || route.Group != "" {
			return nil, false
		}
		if len(route.MatcherSetsRaw) == 0 && len(route.MatcherSets) == 0 {
			// It takes what the routes before it leave, which is everything.
			return nil, true
		}
		if len(route.MatcherSetsRaw) > 0 {
			return nil, false
		}
		for _, set := range route.MatcherSets {
			if len(set) != 1 {
				return nil, false
			}
			hosts, ok := set[0].(*caddyhttp.MatchHost)
			if !ok {
				return nil, false
			}
			names = append(names, *hosts...)
		}
	}
	for _, name := range names {
		// A placeholder, or a wildcard that is not the first label.
		if strings.ContainsAny(strings.TrimPrefix(name, "*."), "{*") {
			return nil, false
		}
	}
	return lane.NewHosts(names), len(names) > 0
}

// hasClientAuth: client certificates bind a request's host to the connection's, which Caddy's server checks.
func hasClientAuth(s *caddyhttp.Server) bool {
	for _, policy := range s.TLSConnPolicies {
		if policy.ClientAuthentication != nil {
			return true
		}
	}
	return false
}

// onlyGateway reports whether handlers come down to one `ando` handler for every request.
func onlyGateway(handlers []json.RawMessage) bool {
	if len(handlers) != 1 {
		return false
	}
	var handler struct {
		Handler string              `json:"handler"`
		Routes  caddyhttp.RouteList `json:"routes"`
		Errors  json.RawMessage     `json:"errors"`
	}
	if json.Unmarshal(handlers[0], &handler) != nil {
		return false
	}
	switch handler.Handler {
	case "ando":
		return true
	case "subroute":
		return handler.Errors == nil && len(handler.Routes) == 1 && len(handler.Routes[0].MatcherSetsRaw) == 0 &&
			handler.Routes[0].Group == "" && onlyGateway(handler.Routes[0].HandlersRaw)
	}
	return false
}
