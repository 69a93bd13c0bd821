// SPDX-License-Identifier: Apache-2.0

package health

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// TestStates follows one node through what APISIX's checker makes of a row of events: S for a success (limit 2), H, T and
// O for a failure over HTTP (3), over TCP (2) and a timeout (3). After each comes the status with its counters.
func TestStates(t *testing.T) {
	events := map[string]event{"S": {success, 2}, "H": {httpFailure, 3}, "T": {tcpFailure, 2}, "O": {timeoutFailure, 3}, "-": {httpFailure, 0}}
	for _, c := range []struct{ name, row string }{
		{"successes of the healthy are not counted", "S=healthy/0,0,0,0 S=healthy/0,0,0,0"},
		{"a limit of 0 never counts", "-=healthy/0,0,0,0"},
		{"one failure", "H=mostly_healthy/0,1,0,0 S=mostly_healthy/1,0,0,0 S=healthy/2,0,0,0"},
		{"a success clears every failure", "H=mostly_healthy/0,1,0,0 T=mostly_healthy/0,1,1,0 O=mostly_healthy/0,1,1,1 S=mostly_healthy/1,0,0,0"},
		{"a failure clears the successes alone", "H=mostly_healthy/0,1,0,0 S=mostly_healthy/1,0,0,0 T=mostly_healthy/0,0,1,0"},
		{"one kind has to reach its limit", "H=mostly_healthy/0,1,0,0 T=mostly_healthy/0,1,1,0 H=mostly_healthy/0,2,1,0 H=unhealthy/0,3,1,0"},
		{"failures of the unhealthy are not counted", "T=mostly_healthy/0,0,1,0 T=unhealthy/0,0,2,0 T=unhealthy/0,0,2,0 H=unhealthy/0,0,2,0"},
		{"back", "T=mostly_healthy/0,0,1,0 T=unhealthy/0,0,2,0 S=mostly_unhealthy/1,0,0,0 S=healthy/2,0,0,0 S=healthy/2,0,0,0 T=mostly_healthy/0,0,1,0"},
		{"not yet back", "T=mostly_healthy/0,0,1,0 T=unhealthy/0,0,2,0 S=mostly_unhealthy/1,0,0,0 T=mostly_unhealthy/0,0,1,0 S=mostly_unhealthy/1,0,0,0 T=mostly_unhealthy/0,0,1,0 T=unhealthy/0,0,2,0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var state atomic.Uint64
			for i, step := range strings.Fields(c.row) {
				name, want, _ := strings.Cut(step, "=")
				before := statusOf(state.Load())
				was, is := count(&state, events[name])
				n := countersOf(state.Load())
				got := fmt.Sprintf("%v/%d,%d,%d,%d", is, n.Success, n.HTTPFailure, n.TCPFailure, n.TimeoutFailure)
				if got != want || was != before || is != statusOf(state.Load()) {
					t.Fatalf("event %d: got %s after %v, want %s", i+1, got, was, want)
				}
				node := gateway.NodeState{}
				node.Health.Store(state.Load())
				if node.Unhealthy() == is.Up() {
					t.Fatalf("event %d: balancers see another health than %v", i+1, is)
				}
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	c := parse(t, `{"active":{},"passive":{}}`)
	a := &c.Active
	for _, field := range []struct{ name, got, want string }{
		{"type", c.Type + " " + a.Type, "http http"},
		{"timeout, intervals", fmt.Sprint(a.Timeout, a.HealthyInterval, a.UnhealthyInterval), "1s 1s 1s"},
		{"request", fmt.Sprintf("%s %s %q %q %v", a.Method, a.Path, a.Body, a.Fields, a.SkipVerify), `GET / "" [] false`},
		{"host, port, concurrency", fmt.Sprintf("%q %d %d", a.Host, a.Port, a.Concurrency), `"" 0 10`},
		{"active limits", fmt.Sprint(a.successes, a.httpFailures, a.tcpFailures, a.timeouts), "2 5 2 3"},
		{
			"passive limits", fmt.Sprint(c.Passive.successes, c.Passive.httpFailures, c.Passive.tcpFailures, c.Passive.timeouts),
			"5 5 2 7",
		},
		{"active statuses", statuses(&a.judge), "good 200 302 bad 404 429 500 501 502 503 504 505"},
		{
			"passive statuses", statuses(&c.Passive.judge),
			"good 200 201 202 203 204 205 206 207 208 226 300 301 302 303 304 305 306 307 308 bad 429 500 503",
		},
	} {
		if field.got != field.want {
			t.Errorf("%s: got %s, want %s", field.name, field.got, field.want)
		}
	}
	if again := parse(t, `{"active":{"healthy":{"http_statuses":[201]}}}`); statuses(&again.Active.judge) != "good 201 bad 404 429 500 501 502 503 504 505" {
		t.Errorf("got %s", statuses(&again.Active.judge))
	}
	if again := parse(t, `{"active":{}}`); statuses(&again.Active.judge) != statuses(&a.judge) {
		t.Error("a config has changed the defaults")
	}
	if c := parse(t, `{"passive":{"type":"https"}}`); c.Type != "https" || c.Active.Type != "" {
		t.Errorf("got %s, probing by %q", c.Type, c.Active.Type)
	}
	if c := parse(t, ``); c != nil {
		t.Error("no checks are checks")
	}
}

func statuses(j *judge) string {
	var out strings.Builder
	for name, set := range map[string]*statusSet{"bad": &j.bad} {
		out.WriteString("good")
		for status := range 640 {
			if j.good.has(status) {
				fmt.Fprintf(&out, " %d", status)
			}
		}
		out.WriteString(" " + name)
		for status := range 640 {
			if set.has(status) {
				fmt.Fprintf(&out, " %d", status)
			}
		}
	}
	return out.String()
}

func parse(t *testing.T, checks string) *Config {
	t.Helper()
	c, err := Parse(json.RawMessage(checks))
	if err != nil {
		t.Fatalf("%s: %v", checks, err)
	}
	return c
}

func TestParseRefuses(t *testing.T) {
	for checks, want := range map[string]string{
		`{"active":{"http_path":"/a HTTP/1.1\r\nX: y"}}`: `checks: active: http_path "/a HTTP/1.1\r\nX: y" is not a path`,
		`{"active":{"req_headers":["X: a\r\nY: b"]}}`:    `checks: active: req_headers: "X: a\r\nY: b" is not a line like "Name: value"`,
		`{"active":{"req_headers":["nothing"]}}`:         `checks: active: req_headers: "nothing" is not a line like "Name: value"`,
		`{"active":{"port":1.5}}`:                        `checks: active: 1.5 is not an integer`,
	} {
		if _, err := Parse(json.RawMessage(checks)); err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", checks, err, want)
		}
	}
}

func TestReportAllocatesNothing(t *testing.T) {
	node := &gateway.Node{Addr: "a:1", State: new(gateway.NodeState)}
	c := New(parse(t, `{"active":{},"passive":{}}`), &gateway.Upstream{Key: "k", Nodes: []*gateway.Node{node}}, nil)
	p := NewPool(nil)
	defer p.Close()
	p.Set(&gateway.Upstream{Key: "k", Nodes: []*gateway.Node{node}, Health: c})
	for _, status := range []int{200, 404} {
		if n := testing.AllocsPerRun(100, func() { c.Report(node, status, gateway.NoFailure) }); n != 0 {
			t.Errorf("%d: %v allocations", status, n)
		}
	}
}

func BenchmarkReport(b *testing.B) {
	node := &gateway.Node{Addr: "a:1", State: new(gateway.NodeState)}
	config, err := Parse(json.RawMessage(`{"active":{},"passive":{}}`))
	if err != nil {
		b.Fatal(err)
	}
	u := &gateway.Upstream{Key: "k", Nodes: []*gateway.Node{node}}
	c := New(config, u, nil)
	u.Health = c
	p := NewPool(nil)
	defer p.Close()
	p.Set(u)
	b.ReportAllocs()
	for b.Loop() {
		c.Report(node, 200, gateway.NoFailure)
	}
}
