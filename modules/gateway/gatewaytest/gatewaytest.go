// SPDX-License-Identifier: Apache-2.0

// Package gatewaytest runs behaviour written down as data on every wire that carries exchanges.
//
// A case is a text file, *.case, made of sections. Objects come first, each as the JSON that the Admin API takes:
//
//	-- note --            what the case shows; not read
//	-- route --           also "-- route r1 --"; without an id it is 1. So are service, upstream, plugin_config,
//	                      consumer_group, global_rule and plugin_metadata
//	-- consumer jack --   the name need not be repeated in the object
//	-- credential jack/c1 --
//
// In them "up:1" to "up:9" stand for nodes that the harness starts, and "down:1" to "down:9" for addresses where nobody
// listens. Then come requests and what is expected of them, in order, on one connection as long as it stays open:
//
//	-- node --            what nodes answer from here on: a head and a body. Words after node say how: "gzip" compresses
//	                      the body and says so, "chunked" sends it in chunks of three bytes, "close" ends it by closing,
//	                      "drop" closes the connection instead. Without this section it is 200 with the body "node"
//	-- request --         a head and a body; Content-Length is added where there is a body
//	-- reply --           the status line, fields that must be there with these values, "!Name" for fields that must not,
//	                      and after an empty line the body; without that line any body will do
//	-- node saw --        the same for the request as the node received it, or "nothing"
//
// A newline at the end of a body does not count, neither in what is sent nor in what is compared.
package gatewaytest

import (
	"io/fs"
	"net"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/nethttp"
	"github.com/andogate/ando/modules/store/memory"
	"github.com/andogate/ando/modules/table"
	"github.com/andogate/ando/modules/upstream/health"
)

// Wire is one way in which requests reach a gateway.
type Wire struct {
	Name string
	// Serve begins to listen on the loopback interface and returns the address. It serves until the test ends.
	Serve func(t testing.TB, g *gateway.Gateway) (addr string)
}

// Wires are what Run runs each case on.
func Wires() []Wire {
	return append([]Wire{
		{"net/http", serveNetHTTP},
		{"push", servePush},
		{"push bytewise", servePushBytewise},
	}, lanes...)
}

// Run runs the case files of a folder, each on every wire, with every plugin that is registered.
func Run(t *testing.T, cases fs.FS) {
	t.Helper()
	RunOn(t, cases, Wires()...)
}

// RunOn is Run for other wires.
func RunOn(t *testing.T, cases fs.FS, wires ...Wire) {
	t.Helper()
	names, err := fs.Glob(cases, "*.case")
	if err != nil || len(names) == 0 {
		t.Fatalf("no case files (%v)", err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(cases, name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(name, ".case"), func(t *testing.T) {
			c, err := parseCase(string(text))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, wire := range wires {
				t.Run(wire.Name, func(t *testing.T) { c.run(t, wire) })
			}
		})
	}
}

// Open returns a gateway that serves the objects from memory until the test ends. Objects that cannot be served fail it.
func Open(t testing.TB, objects ...gateway.Object) *gateway.Gateway {
	t.Helper()
	compiler := &table.Compiler{Plugins: gateway.RegisteredPlugins()}
	for _, o := range objects {
		if err := compiler.Check(o); err != nil {
			t.Fatalf("%s: %v", o.Key(), err)
		}
	}
	g, faults, err := gateway.Open(t.Context(), memory.New(objects...), &gateway.Generation{
		Compiler: compiler, Settings: gateway.DefaultSettings(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, fault := range faults {
		t.Fatal(fault)
	}
	transports := new(nethttp.Transports)
	t.Cleanup(transports.Close)
	g.AnswerSubrequests(nethttp.New(nethttp.Config{Gateway: g, Transports: transports}).Subrequest)
	pool := health.NewPool(nil)
	t.Cleanup(pool.Close)
	if err := g.OnTable(pool.Follow); err != nil {
		t.Fatal(err)
	}
	return g
}

func (c *caseFile) run(t *testing.T, wire Wire) {
	nodes := &nodes{t: t, started: make(map[string]string)}
	objects := make([]gateway.Object, len(c.objects))
	for i, o := range c.objects {
		o.Value = nodes.resolve(o.Value)
		objects[i] = o
	}
	client := &client{t: t, addr: wire.Serve(t, Open(t, objects...))}
	defer client.close()
	for i := range c.exchanges {
		e := &c.exchanges[i]
		nodes.answer(&e.node)
		got := client.do(e)
		if e.decoded {
			got.decode(t, e.line)
		}
		e.reply.check(t, e.line, "reply", got)
		if e.saw != nil {
			nodes.checkSeen(e)
		}
		if t.Failed() {
			return
		}
	}
}

// listen returns a listener on the loopback interface that closes when the test ends.
func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}
