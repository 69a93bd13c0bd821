// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// checkSender refuses, when no key protects the API, what a page of another site could make a browser send: a request
// for a name that was made to resolve here (DNS rebinding), or one that says it comes from elsewhere.
func (h *Handler) checkSender(r *http.Request) error {
	if !h.knownHost(r.Host) {
		return refuse(http.StatusForbidden, fmt.Sprintf("host not allowed: %s", r.Host))
	}
	mode, site := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Site")
	if mode == "no-cors" || mode == "websocket" {
		return refuse(http.StatusForbidden, "request mode not allowed: "+mode)
	}
	origins := r.Header.Values("Origin")
	for _, origin := range origins {
		if !h.knownOrigin(origin, r.Host) {
			return refuse(http.StatusForbidden, "origin not allowed: "+origin)
		}
	}
	if len(origins) > 0 || mode == "" && site == "" || site == "same-origin" {
		return nil
	}
	// "none" is what a browser says when its user typed the address.
	if site == "none" && r.Method == http.MethodGet {
		return nil
	}
	return refuse(http.StatusForbidden, "origin not allowed: the browser did not send it")
}

func (h *Handler) knownHost(host string) bool {
	name := strings.ToLower(hostname(host))
	if h.hosts["*"] || h.hosts[name] || name == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.IsLoopback()
}

// knownOrigin accepts the API's own origin, by what the client called it, and those that were configured.
func (h *Handler) knownOrigin(origin, host string) bool {
	origin = strings.ToLower(origin)
	if h.origins[origin] {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && u.Host == strings.ToLower(host)
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// allowedOrigin returns what pages may use the API: those of any origin when a key protects it, otherwise those of the
// request's origin if it was configured. Empty is none but the API's own.
func (h *Handler) allowedOrigin(r *http.Request) string {
	if !h.open {
		if h.cors {
			return "*"
		}
		return ""
	}
	if origin := r.Header.Get("Origin"); h.origins[strings.ToLower(origin)] {
		return origin
	}
	return ""
}

// allowOrigin lets pages of origin use the API. It reports whether that was all the request asked for.
func allowOrigin(w http.ResponseWriter, r *http.Request, origin string) (answered bool) {
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", origin)
	if origin != "*" {
		header.Set("Vary", "Origin")
	}
	header.Set("Access-Control-Allow-Credentials", "true")
	header.Set("Access-Control-Max-Age", "3600")
	if r.Method != http.MethodOptions {
		header.Set("Access-Control-Expose-Headers", "*")
		return false
	}
	header.Set("Access-Control-Allow-Methods", "POST, GET, PUT, OPTIONS, DELETE, PATCH")
	header.Set("Access-Control-Allow-Headers", "*")
	header.Set("Content-Length", "0")
	header.Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	return true
}
