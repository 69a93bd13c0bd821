// SPDX-License-Identifier: Apache-2.0

package gzip

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
)

// TestEventsComeAtOnce: what a node sends bit by bit reaches the client, compressed, before the node sends more.
func TestEventsComeAtOnce(t *testing.T) {
	next := make(chan bool)
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
	}))
	t.Cleanup(node.Close)
	for _, wire := range gatewaytest.Wires() {
		t.Run(wire.Name, func(t *testing.T) {
			g := gatewaytest.Open(t, gateway.Object{Kind: gateway.Routes, ID: "1", Value: fmt.Appendf(nil,
				`{"id":"1","uri":"/*","plugins":{"gzip":{"types":["text/event-stream"]}},"upstream":{"nodes":{%q:1}}}`, node.Listener.Addr())})
			r, err := http.NewRequest("GET", "http://"+wire.Serve(t, g)+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept-Encoding", "gzip")
			r.Close = true
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if got := res.Header.Get("Content-Encoding"); got != "gzip" {
				t.Fatalf("Content-Encoding: got %q", got)
			}
			decoded, err := gzip.NewReader(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			events := bufio.NewReader(decoded)
			for i := range 3 {
				if line, err := events.ReadString('\n'); line != fmt.Sprintf("data: %d\n", i) || err != nil {
					t.Fatalf("got %q, %v", line, err)
				}
				if line, err := events.ReadString('\n'); line != "\n" || err != nil {
					t.Fatalf("got %q, %v", line, err)
				}
				next <- true
			}
			if _, err := events.ReadByte(); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

// BenchmarkGzip compresses a body of 16 KB.
func BenchmarkGzip(b *testing.B) {
	body := make([]byte, 0, 16<<10)
	for i := 0; len(body) < 16<<10; i++ {
		body = fmt.Appendf(body, `{"id":%d,"name":"item %[1]d"},`, i)
	}
	instance, err := compile(gateway.Env{}, []byte(`{"types":"*","min_length":20,"comp_level":1}`))
	if err != nil {
		b.Fatal(err)
	}
	encoder := instance.(gateway.Encoder)
	x := new(gateway.Exchange)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		x.Request.Header.Add("Accept-Encoding", "gzip")
		x.Request.ProtoMajor, x.Request.ProtoMinor = 1, 1
		x.Response.Body = body
		e := encoder.Encode(x)
		if _, err := e.Encode(body, true); err != nil {
			b.Fatal(err)
		}
		e.Release()
		x.Reset()
	}
}
