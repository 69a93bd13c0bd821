// SPDX-License-Identifier: Apache-2.0

package table

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// oracle matches by trying everything, as the prose of data-plane.md section 2 says and without any of the table's code.
type oracle struct {
	router string
	routes []oracleRoute
}

type oracleRoute struct {
	ID, Status                        string
	URIs, Hosts, Methods, RemoteAddrs []string
	Priority                          int
	created                           uint64
	wantArg                           string
	// failsExpression is the effect of the one expression that random routes carry: x-deny is absent.
	deniesHeader bool
}

func newOracle(router string, all []gateway.Object) *oracle {
	o := &oracle{router: router}
	services := make(map[string][]string)
	for _, object := range all {
		if object.Kind == gateway.Services {
			var s struct{ Hosts []string }
			mustUnmarshal(object.Value, &s)
			services[object.ID] = s.Hosts
		}
	}
	for _, object := range all {
		if object.Kind != gateway.Routes {
			continue
		}
		var r struct {
			URI, Host, Expression string
			URIs, Hosts, Methods  []string
			RemoteAddrs           []string `json:"remote_addrs"`
			Priority              int
			Status                *int
			ServiceID             string `json:"service_id"`
			Vars                  [][]string
		}
		mustUnmarshal(object.Value, &r)
		if r.Status != nil && *r.Status == 0 {
			continue
		}
		n := oracleRoute{
			ID: object.ID, URIs: r.URIs, Hosts: r.Hosts, Methods: r.Methods, RemoteAddrs: r.RemoteAddrs,
			Priority: r.Priority, created: object.Created, deniesHeader: r.Expression != "",
		}
		if r.URI != "" {
			n.URIs = []string{r.URI}
		}
		if r.Host != "" {
			n.Hosts = []string{r.Host}
		}
		if n.Hosts == nil {
			n.Hosts = services[r.ServiceID]
		}
		if len(r.Vars) > 0 {
			n.wantArg = r.Vars[0][2]
		}
		o.routes = append(o.routes, n)
	}
	return o
}

func mustUnmarshal(raw json.RawMessage, into any) {
	if err := json.Unmarshal(raw, into); err != nil {
		panic(err)
	}
}

// answer is what a match gives.
type answer struct {
	Route, URI, Host string
	Params           map[string]string
}

type oracleCandidate struct {
	*oracleRoute
	uri   string
	index int
}

func (o *oracle) match(x *gateway.Exchange) answer {
	var all []oracleCandidate
	for i := range o.routes {
		for j, uri := range o.routes[i].URIs {
			all = append(all, oracleCandidate{&o.routes[i], uri, j})
		}
	}
	if o.router != HostURI {
		return o.matchPath(all, x, "")
	}
	host := x.Request.Host
	var wildcards []string
	for _, r := range o.routes {
		for _, h := range r.Hosts {
			if h = strings.ToLower(h); h[0] == '*' && strings.HasSuffix(host, h[1:]) {
				wildcards = append(wildcards, h)
			}
		}
	}
	slices.SortFunc(wildcards, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, level := range append([]string{host}, wildcards...) {
		var here []oracleCandidate
		for _, c := range all {
			if slices.ContainsFunc(c.Hosts, func(h string) bool { return strings.ToLower(h) == level }) {
				here = append(here, c)
			}
		}
		if found := o.matchPath(here, x, level); found.Route != "" {
			return found
		}
	}
	return o.matchPath(slices.DeleteFunc(all, func(c oracleCandidate) bool { return len(c.Hosts) > 0 }), x, "")
}

func (o *oracle) literal(uri string) string {
	if o.router == URIWithParameter {
		if i := strings.Index(uri, ":"); i >= 0 {
			return uri[:i]
		}
	}
	before, _, _ := strings.Cut(uri, "*")
	return before
}

func (o *oracle) matchPath(all []oracleCandidate, x *gateway.Exchange, level string) answer {
	path := x.Request.Path
	exact := func(c oracleCandidate) bool { return o.literal(c.uri) == c.uri }
	slices.SortFunc(all, func(a, b oracleCandidate) int {
		rank := func(c oracleCandidate) int {
			if exact(c) {
				return 1 << 20
			}
			return len(o.literal(c.uri))
		}
		return cmp.Or(
			cmp.Compare(rank(b), rank(a)), cmp.Compare(b.Priority, a.Priority), cmp.Compare(len(b.uri), len(a.uri)),
			cmp.Compare(a.created, b.created), cmp.Compare(a.ID, b.ID), cmp.Compare(a.index, b.index),
		)
	})
	for _, c := range all {
		if exact(c) && c.uri != path || !strings.HasPrefix(path, o.literal(c.uri)) {
			continue
		}
		host, ok := o.conditions(c, x)
		if !ok {
			continue
		}
		params, ok := o.params(c.uri, path, exact(c))
		if !ok {
			continue
		}
		return answer{c.ID, c.uri, cmp.Or(level, host), params}
	}
	return answer{}
}

func (o *oracle) conditions(c oracleCandidate, x *gateway.Exchange) (host string, ok bool) {
	if len(c.Methods) > 0 && !slices.Contains(c.Methods, x.Request.Method) {
		return "", false
	}
	if len(c.RemoteAddrs) > 0 && !slices.ContainsFunc(c.RemoteAddrs, func(text string) bool {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			return prefix.Contains(x.Request.Client.Addr())
		}
		return netip.MustParseAddr(text) == x.Request.Client.Addr()
	}) {
		return "", false
	}
	if o.router != HostURI && len(c.Hosts) > 0 {
		i := slices.IndexFunc(c.Hosts, func(pattern string) bool {
			pattern = strings.ToLower(pattern)
			of := x.Request.Host
			if strings.Contains(pattern, ":") {
				of = strings.ToLower(x.Request.RawHost)
			}
			return pattern == of || pattern[0] == '*' && strings.HasSuffix(of, pattern[1:])
		})
		if i < 0 {
			return "", false
		}
		host = strings.ToLower(c.Hosts[i])
	}
	if c.wantArg != "" {
		if got, n := x.Request.Arg("v"); n == 0 || got != c.wantArg {
			return "", false
		}
	}
	return host, !c.deniesHeader || x.Request.Header.Get("X-Deny") == ""
}

// params matches a whole pattern as radixtree does, with one regular expression.
func (o *oracle) params(uri, path string, exact bool) (map[string]string, bool) {
	params := map[string]string{}
	parts := strings.Split(uri, "/")
	var names []string
	for i, part := range parts {
		switch {
		case strings.HasPrefix(part, ":"):
			names, parts[i] = append(names, part[1:]), `([^/]+)`
		case part == "*":
			names, parts[i] = append(names, ":ext"), `((.|\n)*)`
		case strings.HasPrefix(part, "*"):
			names, parts[i] = append(names, part[1:]), `((.|\n)*)`
		}
	}
	if exact || len(names) == 0 {
		return params, true
	}
	groups := regexp.MustCompile(strings.Join(parts, "/")).FindStringSubmatchIndex(path)
	if groups == nil || path[groups[0]:groups[1]] != path {
		return nil, false
	}
	for i, name := range names {
		if at := 2*i + 2; o.router == URIWithParameter && groups[at] >= 0 {
			params[name] = path[groups[at]:groups[at+1]]
		}
	}
	return params, true
}
