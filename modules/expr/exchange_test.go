// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// newExchange makes an exchange of an HTTP/1.1 request as one writes it down, with plain newlines. What follows the empty
// line is the body that was read; without an empty line none was.
func newExchange(t testing.TB, request string) *gateway.Exchange {
	t.Helper()
	head, body, hasBody := strings.Cut(request, "\n\n")
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	x := new(gateway.Exchange)
	r := &x.Request
	words := strings.Fields(lines[0])
	r.Method, r.Scheme, r.ProtoMajor, r.ProtoMinor = words[0], "http", 1, 1
	if err := r.SetTarget(words[1]); err != nil {
		t.Fatalf("target %q: %v", words[1], err)
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		if gateway.EqualFold(name, "Host") {
			r.SetHost(value)
			continue
		}
		r.Header.Add(name, value)
	}
	r.Client = netip.MustParseAddrPort("192.0.2.7:50000")
	r.Peer = netip.MustParseAddrPort("198.51.100.1:40000")
	r.Local = netip.MustParseAddrPort("10.0.0.1:9080")
	if hasBody {
		x.SetBody([]byte(body), nil)
	}
	return x
}

func mustCompile(t testing.TB, raw string) *Expr {
	t.Helper()
	e, err := Compile([]byte(raw))
	if err != nil {
		t.Fatalf("Compile(%s): %v", raw, err)
	}
	return e
}

// holds is e.Match with the empty expression in mind.
func holds(e *Expr, x *gateway.Exchange) bool { return e.Match == nil || e.Match(x) }
