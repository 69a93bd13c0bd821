// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/lane"
	_ "github.com/andogate/ando/modules/plugins/standard"
)

// wireless is a driver whose peers are the test: what the engine sends is counted, and dialled connections are there at
// once.
type wireless struct {
	engine *lane.Engine
	node   *lane.Conn
	last   []byte
}

func (d *wireless) Dial(c *lane.Conn, _ netip.AddrPort) error {
	d.node = c
	return nil
}
func (d *wireless) Flush(*lane.Conn)              {}
func (d *wireless) Borrow(*lane.Conn, []byte) int { return 0 }
func (d *wireless) Pause(*lane.Conn)              {}
func (d *wireless) Resume(*lane.Conn)             {}
func (d *wireless) CloseWrite(*lane.Conn)         {}
func (d *wireless) Close(*lane.Conn)              {}
func (d *wireless) HandOver(*lane.Conn, []byte)   { panic("handed over") }
func (d *wireless) Post(func())                   { panic("posted") }

// drain takes what is pending on c, as a socket would.
func (d *wireless) drain(c *lane.Conn) []byte {
	b := c.Pending()
	d.last = append(d.last[:0], b...)
	d.engine.Sent(c, len(b))
	return d.last
}

// exchangeRig is an engine with one client and a node on a key-auth route among a thousand consumers.
type exchangeRig struct {
	driver            *wireless
	client            *lane.Conn
	serving           *lane.Serving
	request, response []byte
}

func newExchangeRig(tb testing.TB, plugins string, serving *lane.Serving) *exchangeRig {
	tb.Helper()
	return newExchangeRigWith(tb, plugins, "", serving)
}

// newExchangeRigWith is newExchangeRig for a request with more fields.
func newExchangeRigWith(tb testing.TB, plugins, fields string, serving *lane.Serving) *exchangeRig {
	tb.Helper()
	objects := []gateway.Object{object(gateway.Routes, "r", fmt.Sprintf(
		`{"uri":"/svc/*","plugins":{%s},"upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1":1},"keepalive_pool":{"size":320,"idle_timeout":60,"requests":2000000000}}}`, plugins))}
	for i := range 1000 {
		name := fmt.Sprintf("c%d", i)
		objects = append(objects, object(gateway.Consumers, name,
			fmt.Sprintf(`{"username":%q,"plugins":{"key-auth":{"key":"key-%04d"},"jwt-auth":{"key":"jwt-%04[2]d","secret":%[3]q}}}`, name, i, tokenSecret)))
	}
	g := gatewaytest.Open(tb, objects...)
	d := &wireless{}
	limits, timeouts := lane.DefaultLimits, lane.DefaultTimeouts
	d.engine = lane.NewEngine(d, lane.Config{Limits: &limits, Timeouts: &timeouts})
	site := new(lane.Site)
	serving.Gateway = g
	site.Serve(serving)
	rig := &exchangeRig{
		driver: d, client: new(lane.Conn), serving: serving,
		request: []byte("GET /svc/item?id=7 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.5.0\r\n" +
			"Accept: */*\r\napikey: key-0500\r\nX-Trace: 0123456789abcdef\r\n" + fields + "\r\n"),
		response: []byte("HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 20:00:00 GMT\r\nContent-Type: text/plain\r\n" +
			"Content-Length: 27\r\nX-Node: a\r\n\r\nhello from a node somewhere"),
	}
	d.engine.Accept(rig.client, &lane.Client{
		Remote: netip.MustParseAddrPort("192.0.2.1:4000"), Local: netip.MustParseAddrPort("192.0.2.2:9080"), Site: site,
	})
	d.engine.Data(rig.client, rig.request)
	d.engine.Connected(d.node, nil)
	d.drain(d.node)
	d.engine.Data(d.node, rig.response)
	d.drain(rig.client)
	return rig
}

func object(kind gateway.Kind, id, value string) gateway.Object {
	return gateway.Object{Kind: kind, ID: id, Value: json.RawMessage(value)}
}

// exchange carries one request and its response.
func (rig *exchangeRig) exchange() (toNode, toClient int) {
	d := rig.driver
	d.engine.Data(rig.client, rig.request)
	toNode = len(d.drain(d.node))
	d.engine.Data(d.node, rig.response)
	return toNode, len(d.drain(rig.client))
}

func TestExchangeAllocatesNothing(t *testing.T) {
	for name, plugins := range map[string]string{"plain": "", "key-auth": `"key-auth":{}`} {
		t.Run(name, func(t *testing.T) {
			rig := newExchangeRig(t, plugins, new(lane.Serving))
			if toNode, toClient := rig.exchange(); toNode == 0 || toClient == 0 {
				t.Fatalf("%d bytes went to the node and %d to the client", toNode, toClient)
			}
			if !bytes.HasPrefix(rig.driver.last, []byte("HTTP/1.1 200 OK\r\n")) {
				t.Fatalf("answer is %q", rig.driver.last)
			}
			if n := testing.AllocsPerRun(1000, func() { rig.exchange() }); n != 0 {
				t.Errorf("%v allocations for each exchange", n)
			}
		})
	}
}

func BenchmarkExchange(b *testing.B) {
	for name, plugins := range map[string]string{"plain": "", "key-auth": `"key-auth":{}`} {
		b.Run(name, func(b *testing.B) {
			rig := newExchangeRig(b, plugins, new(lane.Serving))
			rig.driver.engine.Tick(time.Now())
			b.ReportAllocs()
			for b.Loop() {
				rig.exchange()
			}
		})
	}
}

const tokenSecret = "the secret of everybody's tokens, which is long"

// tokenField is the field with a token of one of the consumers, the n-th of many.
func tokenField(tb testing.TB, n int) string {
	tb.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"key": "jwt-0500", "exp": 1 << 33, "jti": fmt.Sprintf("%08d", n)}).
		SignedString([]byte(tokenSecret))
	if err != nil {
		tb.Fatal(err)
	}
	return "Authorization: Bearer " + token + "\r\n"
}

// BenchmarkTokens measures requests with a JWT: on a route that does not look at it, with one token that is known, and with
// so many that none is remembered.
func BenchmarkTokens(b *testing.B) {
	for name, plugins := range map[string]string{"plain": "", "known": `"jwt-auth":{}`, "verified": `"jwt-auth":{}`} {
		b.Run(name, func(b *testing.B) {
			field := tokenField(b, 0)
			rig := newExchangeRigWith(b, plugins, field, new(lane.Serving))
			requests := [][]byte{rig.request}
			if name == "verified" {
				for n := range 20_000 {
					requests = append(requests, bytes.Replace(rig.request, []byte(field), []byte(tokenField(b, n+1)), 1))
				}
			}
			rig.driver.engine.Tick(time.Now())
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				rig.request = requests[i%len(requests)]
				rig.exchange()
			}
			if !bytes.HasPrefix(rig.driver.last, []byte("HTTP/1.1 200 OK\r\n")) {
				b.Fatalf("answer is %q", rig.driver.last)
			}
		})
	}
}
