// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// forwarded returns the header that a node gets for a request from 192.0.2.7 with these fields.
func forwarded(t *testing.T, settings *Settings, route *Route, fields ...string) []string {
	t.Helper()
	x := new(Exchange)
	fill(x)
	r := &x.Request
	r.SetHost("Example.com:8080")
	r.Peer, r.Local = netip.MustParseAddrPort("192.0.2.7:1234"), netip.MustParseAddrPort("198.51.100.1:9080")
	r.Client = r.Peer
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		r.Header.Add(name, value)
	}
	route.Upstream = fakeUpstream(1)
	x.Begin(&fakeTable{route: route}, settings, nil)
	if x.Next(false) != StepForward {
		t.Fatal("not forwarded")
	}
	x.Finish()
	var got []string
	for name, value := range r.Header.All() {
		got = append(got, name+": "+value)
	}
	slices.Sort(got)
	return got
}

var ownFields = []string{
	"X-Forwarded-For: 192.0.2.7", "X-Forwarded-Host: example.com", "X-Forwarded-Port: 9080", "X-Forwarded-Proto: http",
	"X-Real-IP: 192.0.2.7",
}

func TestForwardedFields(t *testing.T) {
	trusting := &Settings{TrustedAddresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	wary := &Settings{TrustedAddresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	websocket := func() *Route { return &Route{Websocket: true} }
	plain := func() *Route { return &Route{} }
	with := func(fields ...string) []string {
		var all []string
		for _, own := range ownFields {
			name, _, _ := strings.Cut(own, ":")
			if !slices.ContainsFunc(fields, func(f string) bool { return strings.HasPrefix(f, name+":") }) {
				all = append(all, own)
			}
		}
		all = append(all, fields...)
		slices.Sort(all)
		return all
	}
	for _, c := range []struct {
		name     string
		settings *Settings
		route    *Route
		fields   []string
		want     []string
	}{
		{"nothing", nil, plain(), nil, with()},
		{"ends of a message", nil, plain(), []string{
			"Host: h", "Content-Length: 5", "Expect: 100-continue", "Keep-Alive: 5", "Proxy-Connection: x", "Accept: */*",
			"Transfer-Encoding: chunked",
		}, with("Accept: */*")},
		{"aliases of what tells who and whence", nil, plain(), []string{
			"X_Forwarded_Proto: https", "x-forwarded-host: evil", "X-Forwarded_Port: 1", "x_real_ip: 10.0.0.1",
			"Forwarded: for=evil", "X_CONSUMER_USERNAME: root", "x-consumer_custom-id: 1", "X-Credential_Identifier: c",
		}, with()},
		{
			"appended", nil, plain(),
			[]string{"X-Forwarded-For: 10.0.0.1", "x_forwarded_for: 10.0.0.2"},
			with("X-Forwarded-For: 10.0.0.1, 10.0.0.2, 192.0.2.7"),
		},
		{"from somebody untrusted", wary, plain(), []string{"X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: https"}, with()},
		{"from somebody trusted", trusting, plain(), []string{
			"X-Forwarded-For: 10.0.0.1", "X-Forwarded-Host: shop", "Forwarded: for=x", "X-Real-IP: 10.0.0.1",
		}, with("X-Forwarded-For: 10.0.0.1, 192.0.2.7", "X-Forwarded-Host: shop", "Forwarded: for=x")},
		{"trailers", nil, plain(), []string{"TE: gzip, Trailers"}, with("TE: trailers")},
		{"no websocket", nil, plain(), []string{"Connection: Upgrade", "Upgrade: websocket"}, with()},
		{
			"websocket", nil, websocket(),
			[]string{"Connection: keep-alive, Upgrade", "Upgrade: WebSocket"},
			with("Connection: Upgrade", "Upgrade: websocket"),
		},
		{"another protocol", nil, websocket(), []string{"Connection: Upgrade", "Upgrade: h2c"}, with()},
		{"named by Connection", nil, plain(), []string{
			"Connection: close, x-one , X-Forwarded-For", "Connection: x-two", "X-One: 1", "X-Two: 2", "X-Three: 3",
			"X-Forwarded-For: 10.0.0.1",
		}, with("X-Three: 3")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := forwarded(t, c.settings, c.route, c.fields...); !slices.Equal(got, c.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
			}
		})
	}
}

// TestConnectionCannotStripIdentity: what the client says of its connection is settled before the gateway sets fields.
func TestConnectionCannotStripIdentity(t *testing.T) {
	consumer := &Consumer{Name: "jack", Labels: map[string]string{"custom_id": "7"}}
	var tr trail
	auth := entry(rewriteOnly{&probe{trail: &tr, does: map[string]func(*Exchange) Verdict{"rewrite": func(x *Exchange) Verdict {
		x.AttachConsumer(&Consumer{Name: "first", Labels: map[string]string{"custom_id": "1"}}, "c0")
		x.AttachConsumer(consumer, "c1")
		x.Request.Header.Set("X-Role", "reader")
		return Continue
	}}}}, "auth", 1)
	got := forwarded(t, nil, &Route{Chain: NewChain([]Entry{auth})},
		"Connection: X-Consumer-Username, X-Credential-Identifier, X-Role, X-Real-IP, X-Forwarded-Host", "X-Role: admin")
	want := append([]string{
		"X-Consumer-Username: jack", "X-Credential-Identifier: c1", "X-Consumer-Custom-ID: 7", "X-Role: reader",
	}, ownFields...)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// TestHooksSeeClaimedFields: a condition on X-Forwarded-Proto must not believe the client.
func TestHooksSeeClaimedFields(t *testing.T) {
	x := new(Exchange)
	fill(x)
	x.Request.Header.Add("X-Forwarded-Proto", "https")
	x.Request.Header.Add("X-Consumer-Username", "root")
	x.Begin(&fakeTable{}, nil, nil)
	if got := x.Request.Header.Get("X-Forwarded-Proto"); got != "http" {
		t.Errorf("X-Forwarded-Proto: got %q, want http", got)
	}
	if _, ok := x.Request.Header.Lookup("X-Consumer-Username"); ok {
		t.Error("X-Consumer-Username of the client is visible")
	}
}

func TestEarlyFields(t *testing.T) {
	x := newExchange(&fakeTable{route: &Route{Upstream: fakeUpstream(1)}})
	x.Response.Header.Add("X-Early", "plugin")
	x.Response.Header.Add("Set-Cookie", "plugin=1")
	x.Next(false)
	x.Pick()
	x.BeginResponse(200)
	for _, field := range []string{"x-early", "Server", "Set-Cookie", "Other"} {
		x.Response.Header.Add(field, "node")
	}
	x.FilterHeader()
	x.Finish()
	var got []string
	for name, value := range x.Response.Header.All() {
		got = append(got, name+": "+value)
	}
	want := []string{
		"Server: APISIX/" + CompatibleVersion, "Set-Cookie: node", "Other: node", "X-Early: plugin", "Set-Cookie: plugin=1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
