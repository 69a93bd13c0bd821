// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/andogate/ando/modules/lane"
)

// direct is what lanes need to know of a server that does nothing with a request but give it to the `ando` handler.
type direct struct {
	// hosts are those for which that is so; nil means all.
	hosts *lane.Hosts
	// handler is the name of the first handler of each route, which is a label of Caddy's metrics; "" when they differ.
	handler string
}

// directOf reports whether the server, as configured, would do nothing with a request but give it to the `ando` handler, log
// it and count it. It is called when the matchers of the server's routes have been provisioned, which automatic HTTPS needs
// first, and their handlers have not. When in doubt the answer is nil: then Caddy's server serves.
func directOf(s *caddyhttp.Server) *direct {
	if s.Logs != nil && s.Logs.Trace || s.Errors != nil || s.Metrics != nil || s.TrustedProxiesRaw != nil || len(s.NamedRoutes) > 0 ||
		s.StrictSNIHost != nil && *s.StrictSNIHost || s.TLSConnPolicies != nil && hasClientAuth(s) ||
		len(s.ExpectedUnderscoreHeaders) > 0 || len(s.ExpectedDotHeaders) > 0 || s.ReadTimeout > 0 || s.WriteTimeout > 0 {
		return nil
	}
	d := new(direct)
	var names []string
	for i, route := range s.Routes {
		if !onlyGateway(route.HandlersRaw) || route.Group != "" {
			return nil
		}
		if name := handlerName(route.HandlersRaw[0]); i == 0 {
			d.handler = name
		} else if name != d.handler {
			d.handler = ""
		}
		if len(route.MatcherSetsRaw) == 0 && len(route.MatcherSets) == 0 {
			// It takes what the routes before it leave, which is everything.
			return d
		}
		if len(route.MatcherSetsRaw) > 0 {
			return nil
		}
		for _, set := range route.MatcherSets {
			if len(set) != 1 {
				return nil
			}
			hosts, ok := set[0].(*caddyhttp.MatchHost)
			if !ok {
				return nil
			}
			names = append(names, *hosts...)
		}
	}
	for _, name := range names {
		// A placeholder, or a wildcard that is not the first label.
		if strings.ContainsAny(strings.TrimPrefix(name, "*."), "{*") {
			return nil
		}
	}
	if len(names) == 0 {
		return nil
	}
	d.hosts = lane.NewHosts(names)
	return d
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

// handlerName returns the name of a handler that onlyGateway has accepted.
func handlerName(raw json.RawMessage) string {
	var handler struct {
		Handler string `json:"handler"`
	}
	_ = json.Unmarshal(raw, &handler)
	return handler.Handler
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
