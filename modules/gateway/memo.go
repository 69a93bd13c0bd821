// SPDX-License-Identifier: Apache-2.0

package gateway

// memo is the last match of an exchange that rested on method, host and path alone. Exchanges are kept by what owns a
// connection or a loop, so the memo is that owner's cache of the table and needs no lock.
type memo struct {
	seq         uint64
	route       *Route
	method      string
	host, path  []byte
	uri, domain string
}

// match sets x.Route and what goes with it.
func (x *Exchange) match() {
	r := &x.Request
	m := &x.memo
	if x.seq != 0 && m.seq == x.seq && m.method == r.Method && string(m.path) == r.Path && string(m.host) == r.Host {
		x.Route, x.MatchedURI, x.MatchedHost = m.route, m.uri, m.domain
		return
	}
	x.Route = x.Table.Match(x, nil)
	if x.Route == nil || x.Volatile || len(x.Params) > 0 {
		return
	}
	m.seq, m.route, m.uri, m.domain = x.seq, x.Route, x.MatchedURI, x.MatchedHost
	m.method = keptMethod(r.Method)
	m.host, m.path = append(m.host[:0], r.Host...), append(m.path[:0], r.Path...)
}

// keptMethod returns a copy of the method that outlives the request. Rare methods match no memo.
func keptMethod(method string) string {
	for _, known := range [...]string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"} {
		if method == known {
			return known
		}
	}
	return ""
}
