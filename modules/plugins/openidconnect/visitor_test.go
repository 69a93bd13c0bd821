// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
	"github.com/andogate/ando/modules/store/memory"
	"github.com/andogate/ando/modules/table"
)

// visitor is a client whose requests go through the hooks of one route up to where they would be forwarded: at any time, and
// with any cookies. It belongs to one goroutine.
type visitor struct {
	testing.TB
	gateway *gateway.Gateway
	x       gateway.Exchange
	// now is when requests are made; zero is now.
	now     time.Time
	cookies map[string]string
	// https says that requests come over TLS.
	https bool
	// waited says that the last request could not be decided without waiting.
	waited bool
	logs   *observer.ObservedLogs
}

// answered is what became of a request: a status for the client, or 0 and what the node would have seen.
type answered struct {
	status   int
	body     string
	location *url.URL
	header   http.Header
	// setCookies are the lines as they are.
	setCookies []string
	node       http.Header
	user       string
}

func newVisitor(t testing.TB, plugins string) *visitor {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	log := zap.New(core)
	route := gateway.Object{
		Kind: gateway.Routes, ID: "1", Value: json.RawMessage(`{"id":"1","uri":"/*","plugins":` + plugins + `,"upstream":{"nodes":{"127.0.0.1:1":1}}}`),
	}
	compiler := &table.Compiler{Plugins: gateway.RegisteredPlugins(), Log: func() *zap.Logger { return log }}
	if err := compiler.Check(route); err != nil {
		t.Fatal(err)
	}
	g, faults, err := gateway.Open(t.Context(), memory.New(route), &gateway.Generation{Compiler: compiler, Settings: gateway.DefaultSettings()})
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	t.Cleanup(func() { _ = g.Close() })
	return &visitor{TB: t, gateway: g, cookies: make(map[string]string), logs: logs}
}

// waiting is the wire of a visitor.
type waiting struct{ ctx context.Context }

func (w waiting) Context() context.Context       { return w.ctx }
func (w waiting) ReadBody(int64) ([]byte, error) { return nil, nil }

// get makes a request with fields given as names and values.
func (v *visitor) get(target string, fields ...string) answered {
	return v.do("GET", target, fields...)
}

func (v *visitor) do(method, target string, fields ...string) answered {
	v.Helper()
	x := &v.x
	r := &x.Request
	x.Start, r.Method, r.Scheme = v.now, method, "http"
	if v.https {
		r.Scheme = "https"
	}
	r.SetHost("shop.test:8080")
	if err := r.SetTarget(target); err != nil {
		v.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "Host" {
			r.SetHost(fields[i+1])
			continue
		}
		r.Header.Add(fields[i], fields[i+1])
	}
	var pairs []string
	for name, value := range v.cookies {
		pairs = append(pairs, name+"="+value)
	}
	if len(pairs) > 0 {
		r.Header.Add("Cookie", strings.Join(pairs, "; "))
	}
	v.gateway.Begin(x, waiting{v.Context()})
	step := x.Next(false)
	if v.waited = step == gateway.StepBlock; v.waited {
		step = x.Next(true)
	}
	x.FilterHeader()
	a := answered{header: make(http.Header), node: make(http.Header)}
	for name, value := range x.Response.Header.All() {
		a.header.Add(strings.Clone(name), strings.Clone(value))
	}
	a.setCookies = a.header.Values("Set-Cookie")
	if step == gateway.StepReply {
		a.status, a.body = x.Response.Status, string(x.Response.Body)
		a.location = must(url.Parse(a.header.Get("Location")))
	} else {
		for name, value := range r.Header.All() {
			a.node.Add(strings.Clone(name), strings.Clone(value))
		}
		user, _ := auth.ExternalUser(x)
		a.user = strings.Clone(user)
	}
	x.Finish()
	x.Reset()
	for _, line := range a.setCookies {
		pair, attributes, _ := strings.Cut(line, ";")
		name, value, _ := strings.Cut(pair, "=")
		if strings.Contains(attributes, "Max-Age=0") {
			delete(v.cookies, name)
		} else {
			v.cookies[name] = value
		}
	}
	return a
}

// bearer makes a request with an access token.
func (v *visitor) bearer(token string) answered {
	v.Helper()
	return v.get("/a", "Authorization", "Bearer "+token)
}

// login begins a login and returns the parameters of the authorization request.
func (v *visitor) login(target string) url.Values {
	v.Helper()
	a := v.get(target)
	if a.status != 302 || !strings.HasSuffix(a.location.Path, "/authorize") {
		v.Fatalf("%s: got %d to %v, want a login", target, a.status, a.location)
	}
	return a.location.Query()
}

// back comes back from the provider with its answer to a login. Its code is the nonce, see fakeProvider.
func (v *visitor) back(params url.Values) answered {
	v.Helper()
	return v.get("/back?" + url.Values{"code": {params.Get("nonce")}, "state": {params.Get("state")}}.Encode())
}

// logIn goes through a whole login.
func (v *visitor) logIn() {
	v.Helper()
	if a := v.back(v.login("/page")); a.status != 302 || a.location.String() != "/page" {
		v.Fatalf("login: got %d to %v: %s", a.status, a.location, v.reasons())
	}
}

// reasons are what the gateway has logged, as text.
func (v *visitor) reasons() string {
	var text strings.Builder
	for _, entry := range v.logs.All() {
		encoded, err := json.Marshal(entry.ContextMap())
		if err != nil {
			v.Fatal(err)
		}
		text.WriteString(entry.Message + " " + string(encoded) + "\n")
	}
	return text.String()
}

// decoded returns a field of what the node saw as JSON.
func (a answered) decoded(field string) string {
	text, _ := base64.StdEncoding.DecodeString(a.node.Get(field))
	return string(text)
}
