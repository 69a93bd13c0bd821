// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
)

// Site is a gateway on one wire with one route, for plugins that ask other services: what those answer a case file
// cannot say.
type Site struct {
	*testing.T
	// URL is where the gateway is.
	URL string
	// Saw is the last request that the node was sent, and SawBody its body; nil when none was since the last Do.
	Saw     *http.Request
	SawBody string
}

// OnEach runs a test on every wire, for a route /* with these plugins, given as a JSON object. Its node answers "node".
func OnEach(t *testing.T, plugins string, test func(s *Site), objects ...gateway.Object) {
	t.Helper()
	for _, wire := range gatewaytest.Wires() {
		t.Run(wire.Name, func(t *testing.T) {
			s := &Site{T: t}
			node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				s.Saw, s.SawBody = r, string(body)
				_, _ = io.WriteString(w, "node")
			}))
			t.Cleanup(node.Close)
			route := gateway.Object{Kind: gateway.Routes, ID: "1", Value: fmt.Appendf(nil,
				`{"id":"1","name":"the-route","uri":"/*","plugins":%s,"upstream":{"nodes":{%q:1}}}`, plugins, node.Listener.Addr())}
			s.URL = "http://" + wire.Serve(t, gatewaytest.Open(t, append([]gateway.Object{route}, objects...)...))
			test(s)
		})
	}
}

// Answer is what a client was answered.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Do sends a request with fields given as names and values, and follows no redirect.
func (s *Site) Do(method, target, body string, fields ...string) Answer {
	s.Helper()
	s.Saw, s.SawBody = nil, ""
	r, err := http.NewRequest(method, s.URL+target, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "Host" {
			r.Host = fields[i+1]
			continue
		}
		r.Header.Add(fields[i], fields[i+1])
	}
	r.Close = true
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	return Answer{res.StatusCode, res.Header, string(read)}
}

// Want holds an answer to a status and a body, and says whether the node saw the request.
func (s *Site) Want(got Answer, status int, body string, forwarded bool) {
	s.Helper()
	if got.Status != status || got.Body != body && body != AnyBody {
		s.Errorf("got %d %q, want %d %q", got.Status, got.Body, status, body)
	}
	if (s.Saw != nil) != forwarded {
		s.Errorf("the node saw the request: %v", s.Saw != nil)
	}
}

// AnyBody stands for a body that does not matter.
const AnyBody = "\x00any"
