// SPDX-License-Identifier: Apache-2.0

package nethttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/nethttp"
)

// asker is a plugin that makes a subrequest for each request, and answers with what becomes of it.
type asker struct{}

func (asker) Access(x *gateway.Exchange) gateway.Verdict {
	q := &gateway.Subrequest{Method: "POST", Target: "/node" + x.Request.Header.Get("X-Path"), Limit: 64, Body: []byte(x.Request.Header.Get("X-Body"))}
	for name, value := range x.Request.Header.All() {
		if name, ok := strings.CutPrefix(name, "X-Sub-"); ok {
			q.Header.Add(strings.ReplaceAll(name, "-", "_"), value)
			q.Header.Add(name, value)
		}
	}
	if method := x.Request.Header.Get("X-Method"); method != "" {
		q.Method = method
	}
	if again := x.Request.Header.Get("X-Again"); again != "" {
		q.Target = "/ask"
	}
	ctx := x.Context()
	if x.Request.Header.Get("X-Late") != "" {
		late, cancel := context.WithCancelCause(ctx)
		cancel(context.DeadlineExceeded)
		ctx = late
	}
	r, err := x.Subrequest(ctx, q)
	if err != nil {
		return x.Exit(299, []byte(err.Error()))
	}
	for name, value := range r.Header.All() {
		x.Response.Header.Add("Sub-"+name, value)
	}
	return x.Exit(r.Status, r.Body)
}

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: "test-ask", Blocking: true, Schema: json.RawMessage(`{"type":"object"}`),
		New: func(gateway.Env, json.RawMessage) (any, error) { return asker{}, nil },
	})
}

// TestSubrequest: what a plugin asks of the gateway comes from the same client, goes through the table, and is bounded.
func TestSubrequest(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-From", r.Header.Get("X-Real-Ip")+" "+r.Host)
		switch r.URL.Path {
		case "/node/early":
			w.Header().Set("Link", "</a>")
			w.WriteHeader(http.StatusEarlyHints)
		case "/node/long":
			_, _ = io.WriteString(w, strings.Repeat("x", 65))
			return
		case "/node/broken":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "short")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/node/trailers":
			w.Header().Set("Trailer", "X-Sum")
			defer w.Header().Set("X-Sum", "7")
		}
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "%s %s %s up=%q one=%q", r.Method, r.RequestURI, body, r.Header["Upgrade"], r.Header["One-Two"])
	}))
	defer node.Close()
	route := func(id, text string) gateway.Object {
		return gateway.Object{Kind: gateway.Routes, ID: id, Value: []byte(text)}
	}
	g := gatewaytest.Open(t,
		route("ask", `{"id":"ask","uri":"/ask","plugins":{"test-ask":{}}}`),
		route("node", `{"id":"node","uri":"/node*","upstream":{"nodes":{"`+node.Listener.Addr().String()+`":1}}}`),
	)
	server := httptest.NewUnstartedServer(nethttp.New(nethttp.Config{
		Gateway: g, ClientAddr: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.7") },
	}))
	server.Config.ConnContext = nethttp.ConnContext
	server.Start()
	defer server.Close()
	ask := func(fields ...string) (int, http.Header, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/ask", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "asked.example"
		for i := 0; i < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Header, string(body)
	}
	for _, c := range []struct {
		fields []string
		status int
		want   string
	}{
		{nil, 202, `POST /node  up=[] one=[]`},
		{[]string{"X-Path", "/a?b=c", "X-Body", "text", "X-Sub-One-Two", "1"}, 202, `POST /node/a?b=c text up=[] one=["1"]`},
		{[]string{"X-Method", "PUT", "X-Sub-Connection", "upgrade", "X-Sub-Upgrade", "websocket"}, 202, `PUT /node  up=[] one=[]`},
		{[]string{"X-Method", "HEAD"}, 202, ""},
		{[]string{"X-Path", "/early"}, 202, `POST /node/early  up=[] one=[]`},
		{[]string{"X-Path", "/trailers"}, 202, `POST /node/trailers  up=[] one=[]`},
		{[]string{"X-Path", "where"}, 202, `POST /nodewhere  up=[] one=[]`},
		{[]string{"X-Path", "/long"}, 299, gateway.ErrResponseTooLarge.Error()},
		{[]string{"X-Path", "/broken"}, 299, gateway.ErrResponseBroken.Error()},
		{[]string{"X-Method", "CONNECT"}, 299, gateway.ErrMalformed.Error()},
		{[]string{"X-Method", "a b"}, 299, gateway.ErrMalformed.Error()},
		{[]string{"X-Again", "yes"}, 299, gateway.ErrNested.Error()},
		{[]string{"X-Late", "yes"}, 299, context.DeadlineExceeded.Error()},
	} {
		status, header, body := ask(c.fields...)
		if status != c.status || body != c.want {
			t.Errorf("%v: got %d %q, want %d %q", c.fields, status, body, c.status, c.want)
		}
		if from := header.Get("Sub-X-From"); c.status == 202 && from != "192.0.2.7 asked.example" {
			t.Errorf("%v: got %q from %q", c.fields, body, from)
		}
	}
	// Nobody answers where nobody is to.
	x := new(gateway.Exchange)
	if _, err := x.Subrequest(t.Context(), new(gateway.Subrequest)); !errors.Is(err, gateway.ErrNoSubrequests) {
		t.Errorf("got %v", err)
	}
}
