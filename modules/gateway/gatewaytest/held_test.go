// SPDX-License-Identifier: Apache-2.0

package gatewaytest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
)

// holder is a plugin whose head says how long the body is, and which answers a body that complains with another status.
type holder struct{ Limit int64 }

func (h *holder) ReadsResponse(x *gateway.Exchange) int64 {
	if x.Response.Header.Get("X-Pass") != "" {
		return 0
	}
	return h.Limit
}

func (h *holder) FilterHeader(x *gateway.Exchange) {
	r := &x.Response
	if !r.FromNode || r.Header.Get("X-Pass") != "" {
		return
	}
	r.Header.Set("X-Held", strconv.Itoa(len(r.Body)))
	for name, value := range r.Trailer.All() {
		r.Header.Add("X-Trailer", strings.ToLower(name)+"="+value)
	}
	if bytes.Contains(r.Body, []byte("sorry")) {
		r.Status = http.StatusTeapot
	}
	r.Body = append(r.Body, '!')
}

// framer is a plugin that puts the trailers into the body.
type framer struct{}

func (framer) FilterHeader(x *gateway.Exchange) {
	x.Response.ClearBodyFields()
	x.Response.Header.Del("Trailer")
}

func (framer) FilterBody(x *gateway.Exchange, chunk []byte, last bool) []byte {
	if !last {
		return chunk
	}
	chunk = bytes.Clone(chunk)
	for name, value := range x.Response.Trailer.All() {
		chunk = append(chunk, "|"+strings.ToLower(name)+"="+value...)
	}
	x.Response.Trailer.Reset()
	return chunk
}

func init() {
	for name, instance := range map[string]func() any{
		"test-hold": func() any { return new(holder) }, "test-frame": func() any { return new(framer) },
	} {
		gateway.RegisterPlugin(&gateway.Plugin{
			Name: name, Schema: json.RawMessage(`{"type":"object"}`),
			New: func(_ gateway.Env, config json.RawMessage) (any, error) {
				i := instance()
				return i, json.Unmarshal(config, i)
			},
		})
	}
}

// TestTrailers: the fields behind a node's body are there for hooks, which decide what becomes of them.
func TestTrailers(t *testing.T) {
	node := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "7")
		w.Header().Set(http.TrailerPrefix+"X-Late", "yes")
		w.Header().Set(http.TrailerPrefix+"Location", "/elsewhere")
	}), ReadHeaderTimeout: time.Minute}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = node.Serve(l) }()
	defer node.Close()
	route := func(id, plugins string) gateway.Object {
		return object(gateway.Routes, id, `{"id":"`+id+`","uri":"/`+id+`","plugins":`+plugins+`,"upstream":{"nodes":{"`+l.Addr().String()+`":1}}}`)
	}
	for _, wire := range gatewaytest.Wires() {
		if strings.HasPrefix(wire.Name, "push") {
			continue // it knows no trailers
		}
		t.Run(wire.Name, func(t *testing.T) {
			addr := wire.Serve(t, gatewaytest.Open(t,
				route("plain", `{}`), route("framed", `{"test-frame":{}}`), route("held", `{"test-hold":{"Limit":4}}`)))
			get := func(path string) (*http.Response, string) {
				t.Helper()
				r, err := http.Get("http://" + addr + path)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Fatal(err)
				}
				return r, string(body)
			}
			r, body := get("/plain")
			if body != "body" || r.Trailer.Get("X-Sum") != "7" || r.Trailer.Get("X-Late") != "yes" {
				t.Errorf("plain: got %q, %v", body, r.Trailer)
			}
			r, body = get("/framed")
			if !strings.HasPrefix(body, "body|") || !strings.Contains(body, "|x-sum=7") || !strings.Contains(body, "|x-late=yes") ||
				len(r.Trailer) > 0 {
				t.Errorf("framed: got %q, %v", body, r.Trailer)
			}
			r, body = get("/held")
			got := strings.Join(r.Header["X-Trailer"], " ")
			if body != "body!" || !strings.Contains(got, "x-sum=7") || !strings.Contains(got, "x-late=yes") {
				t.Errorf("held: got %q, %s", body, got)
			}
		})
	}
}
