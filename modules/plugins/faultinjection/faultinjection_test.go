// SPDX-License-Identifier: Apache-2.0

package faultinjection

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"abort":{"http_status":403,"body":"no","headers":{"A":1}},"delay":{"duration":0.1,"percentage":0}}`, ""},
		{`{"delay":{"duration":1e300}}`, ""},
		{`{}`, "expect object to have at least 1 properties"},
		{`{"abort":{"http_status":100}}`, `property "abort" validation failed: property "http_status" validation failed: expected 100 to be at least 200`},
		{`{"abort":{"http_status":1000}}`, `property "abort" validation failed: property "http_status" validation failed: expected 1000 to be a status from 200 to 999`},
		{`{"abort":{"http_status":200,"percentage":101}}`, `property "abort" validation failed: property "percentage" validation failed: expected 101 to be at most 100`},
		{`{"abort":{"http_status":200,"headers":{}}}`, `property "abort" validation failed: property "headers" validation failed: expect object to have at least 1 properties`},
		{`{"abort":{"http_status":200,"headers":{"a b":"c"}}}`, "invalid field character in header"},
		{`{"abort":{"http_status":200,"vars":[[["arg_a","xx","1"]]]}}`, "invalid operator 'xx'"},
		{`{"delay":{"duration":-1}}`, `property "delay" validation failed: property "duration" validation failed: expected -1 to be at least 0`},
		{`{"delay":{}}`, `property "delay" validation failed: property "duration" is required`},
		{`{"delay":{"duration":1,"vars":[[["arg_a","xx","1"]]]}}`, "invalid operator 'xx'"},
	})
}

// TestWhoBlocks: only a request that is delayed leaves its loop.
func TestWhoBlocks(t *testing.T) {
	for config, want := range map[string]gateway.Step{
		`{"abort":{"http_status":200}}`:                               gateway.StepReply,
		`{"delay":{"duration":1}}`:                                    gateway.StepBlock,
		`{"delay":{"duration":1,"percentage":0}}`:                     gateway.StepForward,
		`{"delay":{"duration":1,"vars":[[["arg_a","==","1"]]]}}`:      gateway.StepForward,
		`{"delay":{"duration":1,"vars":[[["arg_a","==",null]]]}}`:     gateway.StepBlock,
		`{"delay":{"duration":1,"vars":[]}}`:                          gateway.StepForward,
		`{"abort":{"http_status":200,"vars":[[["post_arg_a","1"]]]}}`: gateway.StepBody,
	} {
		if got := plugintest.Open(t, `{"fault-injection":`+config+`}`).Run(nil); got != want {
			t.Errorf("%s: got step %v, want %v", config, got, want)
		}
	}
}

// TestPercentage draws many lots: each outcome is as likely as it is configured to be, within ten standard deviations.
func TestPercentage(t *testing.T) {
	c := chance{percentage: 30}
	hits := 0
	const draws = 20_000
	for range draws {
		if c.hit(nil) {
			hits++
		}
	}
	if hits < 5350 || hits > 6650 {
		t.Errorf("%d of %d hit, want about 30%%", hits, draws)
	}
}

// TestClientGoes has a client that does not wait for the end of a delay: the hook ends with it.
func TestClientGoes(t *testing.T) {
	for _, wire := range gatewaytest.Wires() {
		t.Run(wire.Name, func(t *testing.T) {
			addr := wire.Serve(t, gatewaytest.Open(t, gateway.Object{
				Kind: gateway.Routes, ID: "1", Value: json.RawMessage(
					`{"id":"1","uri":"/*","plugins":{"fault-injection":{"delay":{"duration":86400,"vars":[[["arg_slow","==","1"]]]},"abort":{"http_status":204}},"test-log":{}}}`),
			}))
			slow := dial(t, addr)
			if _, err := io.WriteString(slow, "GET /?slow=1 HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			<-begun
			// Meanwhile others are served.
			quick := dial(t, addr)
			if _, err := io.WriteString(quick, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if r, err := http.ReadResponse(bufio.NewReader(quick), nil); err != nil || r.StatusCode != http.StatusNoContent {
				t.Fatalf("got %v (%v), want 204", r, err)
			}
			<-begun
			if status := <-logged; status != http.StatusNoContent {
				t.Errorf("logged status %d, want 204", status)
			}
			if err := slow.SetLinger(0); err != nil {
				t.Fatal(err)
			}
			if err := slow.Close(); err != nil {
				t.Fatal(err)
			}
			if status := <-logged; status != clientGone {
				t.Errorf("logged status %d, want %d", status, clientGone)
			}
		})
	}
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// watcher tells the test when a request begins and what became of it.
type watcher struct{}

var begun, logged = make(chan struct{}, 4), make(chan int, 4)

func (watcher) Rewrite(*gateway.Exchange) gateway.Verdict {
	begun <- struct{}{}
	return gateway.Continue
}

func (watcher) Log(x *gateway.Exchange) { logged <- x.Response.Status }

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: "test-log", Priority: 20000, Schema: json.RawMessage(`{"type":"object"}`),
		New: func(gateway.Env, json.RawMessage) (any, error) { return watcher{}, nil },
	})
}

func TestAllocs(t *testing.T) {
	x := plugintest.Open(t, `{"fault-injection":{"abort":{"http_status":503,"headers":{"A":"b"}}}}`)
	x.WantAllocs(t, gateway.StepReply, 0, nil)
	x = plugintest.Open(t, `{"fault-injection":{"delay":{"duration":1,"percentage":0},"abort":{"http_status":503,"vars":[[["arg_a","==","1"]]]}},"key-auth":{}}`)
	x.WantAllocs(t, gateway.StepReply, 0, nil)
}

func BenchmarkFaultInjection(b *testing.B) {
	plugintest.Open(b, `{"fault-injection":{"abort":{"http_status":503,"percentage":50,"body":"$uri"}},"key-auth":{}}`).Bench(b, nil)
}
