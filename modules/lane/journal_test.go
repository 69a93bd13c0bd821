// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lane"
)

// holdable is a driver that says when it is told to stop reading, and what is posted.
type holdable struct {
	wireless
	paused map[*lane.Conn]bool
	posted chan func()
}

func (d *holdable) Pause(c *lane.Conn)  { d.paused[c] = true }
func (d *holdable) Resume(c *lane.Conn) { d.paused[c] = false }
func (d *holdable) Post(f func())       { d.posted <- f }

// TestLogThatCannotKeepUp: when the log takes nothing more, clients of the sites that keep one wait with their next
// request. No line is lost, and memory is bounded.
func TestLogThatCannotKeepUp(t *testing.T) {
	for _, eof := range []bool{false, true} {
		t.Run(fmt.Sprintf("eof %v", eof), func(t *testing.T) {
			testLogThatCannotKeepUp(t, eof)
		})
	}
}

func testLogThatCannotKeepUp(t *testing.T, eof bool) {
	logging, lines := make(chan bool), make(chan string, 100_000)
	p := plan{nodes: []string{"127.0.0.1:1"}}
	g, _ := p.open(t)
	defer g.Close()
	d := &holdable{paused: map[*lane.Conn]bool{}, posted: make(chan func(), 10)}
	d.engine = lane.NewEngine(d, lane.Config{Limits: &p.limits, Timeouts: &p.timeouts})
	defer d.engine.Close()
	connect := func(serving *lane.Serving) *lane.Conn {
		serving.Gateway = g
		site := new(lane.Site)
		site.Serve(serving)
		c := new(lane.Conn)
		d.engine.Accept(c, &lane.Client{Site: site})
		return c
	}
	client := connect(&lane.Serving{Log: func(r *lane.Record) {
		<-logging
		lines <- strings.Clone(r.URI)
	}})
	request := func(n int) []byte {
		return fmt.Appendf(nil, "GET /none/%d HTTP/1.1\r\nHost: h\r\nX: %s\r\n\r\n", n, strings.Repeat("x", 20_000))
	}
	sent := 0
	for ; !d.paused[client]; sent++ {
		if sent > 5000 {
			t.Fatal("the client is never held")
		}
		d.engine.Data(client, request(sent))
		if answer := d.drain(client); d.paused[client] == (len(answer) > 0) {
			t.Fatalf("request %d: held %v, answered with %d bytes", sent, d.paused[client], len(answer))
		}
	}
	other := connect(&lane.Serving{})
	d.engine.Data(other, request(0))
	if len(d.drain(other)) == 0 {
		t.Error("a site without a log waits as well")
	}
	if eof {
		d.engine.EOF(client)
	}
	// However long it takes, a held client is none that idles.
	d.engine.Tick(time.Now().Add(time.Hour))
	d.engine.Sweep()
	close(logging)
	(<-d.posted)()
	if answer := d.drain(client); !bytes.Contains(answer, []byte("404")) {
		t.Errorf("the request that was held is answered with %q", answer)
	}
	if !eof && d.paused[client] {
		t.Error("the client is held though the log is written")
	}
	for i := range sent {
		if line, want := <-lines, fmt.Sprintf("/none/%d", i); line != want {
			t.Fatalf("line %d is for %s", i, line)
		}
	}
}

// TestFlush: what has been served is written when Flush is back, and what is served after the loop's end too.
func TestFlush(t *testing.T) {
	var lines int
	serving := &lane.Serving{Log: func(*lane.Record) { lines++ }}
	rig := newExchangeRig(t, "", serving)
	for range 100 {
		rig.exchange()
	}
	rig.serving.Flush(time.Minute)
	if lines != 101 {
		t.Errorf("%d lines, want 101", lines)
	}
	rig.driver.engine.Close()
	rig.serving.Flush(time.Minute)
}

// TestLoggingAllocatesNothing: neither does an exchange with log and metrics.
func TestLoggingAllocatesNothing(t *testing.T) {
	bytes := 0
	rig := newExchangeRig(t, `"key-auth":{}`, &lane.Serving{Metrics: counting{}, Log: func(r *lane.Record) {
		for _, field := range r.Header {
			bytes += len(field.Name) + len(field.Value)
		}
	}})
	const some = 50
	exchanges := func() {
		for range some {
			rig.exchange()
		}
		// As many records as ever wait are made anew: the writer must be given its turn.
		rig.serving.Flush(time.Minute)
	}
	exchanges()
	if n := testing.AllocsPerRun(20, exchanges); n >= some/10 {
		t.Errorf("%v allocations for %d exchanges", n, some)
	}
	if bytes == 0 {
		t.Error("nothing was logged")
	}
}

type counting struct{}

func (counting) Began(*gateway.Exchange)                {}
func (counting) Ended(*gateway.Exchange, lane.Measured) {}

// BenchmarkObserved is BenchmarkExchange with a log that is written for nothing, and with metrics.
func BenchmarkObserved(b *testing.B) {
	for name, serving := range map[string]*lane.Serving{
		"log": {Log: func(*lane.Record) {}}, "metrics": {Metrics: counting{}},
	} {
		b.Run(name, func(b *testing.B) {
			rig := newExchangeRig(b, "", serving)
			rig.driver.engine.Tick(time.Now())
			b.ReportAllocs()
			for b.Loop() {
				rig.exchange()
			}
		})
	}
}
