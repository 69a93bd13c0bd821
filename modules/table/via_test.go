// SPDX-License-Identifier: Apache-2.0

package table

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest/certtest"
	"github.com/andogate/ando/modules/upstream/discovery"
)

// via sends requests to an upstream of its config's own.
type via struct{ upstream *gateway.Upstream }

func (v *via) Access(x *gateway.Exchange) gateway.Verdict {
	x.Forward.Upstream = v.upstream
	return gateway.Continue
}

func toyVia() *gateway.Plugin {
	return &gateway.Plugin{
		Name: "toy-via", Priority: 50, Schema: json.RawMessage(`{"type":"object","required":["upstream"]}`),
		New: func(env gateway.Env, config json.RawMessage) (any, error) {
			var c struct {
				Upstream json.RawMessage `json:"upstream"`
			}
			if err := json.Unmarshal(config, &c); err != nil || env.Upstreams == nil {
				return &via{}, err
			}
			u, err := env.Upstreams(env.Owner+"#via", c.Upstream, nil)
			return &via{u}, err
		},
	}
}

// upstreamVia returns the upstream that the toy has for a path, and the toy.
func upstreamVia(t *testing.T, table gateway.Table, path string) (*via, *gateway.Upstream) {
	t.Helper()
	route := get(table.(*Table), "h", path)
	if route == nil || route.Fault != 0 {
		t.Fatalf("%s: %+v", path, route)
	}
	plugin := table.(*Table).compiler.Plugins["toy-via"]
	entry, ok := route.Chain.Entry(plugin)
	if !ok {
		t.Fatal(path, " has no toy")
	}
	return entry.Instance.(*via), entry.Instance.(*via).upstream
}

// TestPluginsUpstreamFollowsRegistry: an upstream inside a plugin's config has the nodes that registries tell of, wherever
// the plugin stands, and is compiled anew when they change; a plugin that rests on nothing stays.
func TestPluginsUpstreamFollowsRegistry(t *testing.T) {
	const plugins = `"plugins":{"toy-via":{"upstream":` + found + `}}`
	r := newRegistry(t, []string{"10.0.0.1"},
		stored(gateway.PluginConfigs, "c", `{`+plugins+`}`),
		stored(gateway.Services, "s", `{`+plugins+`}`),
		stored(gateway.Routes, "1", `{"uri":"/own",`+plugins+`,"upstream":{"nodes":{"localhost:8080":1}}}`),
		stored(gateway.Routes, "2", `{"uri":"/config","plugin_config_id":"c"}`),
		stored(gateway.Routes, "3", `{"uri":"/service","service_id":"s"}`),
		stored(gateway.Routes, "4", `{"uri":"/still","plugins":{"toy-via":{"upstream":{"nodes":{"10.0.0.9:80":1}}}}}`),
	)
	still, _ := upstreamVia(t, r.gateway.Table(), "/still")
	for _, hosts := range [][]string{{"10.0.0.1"}, {"10.0.0.2", "10.0.0.3"}, {"10.0.0.3"}} {
		r.set(false, hosts...)
		want := make([]string, len(hosts))
		for i, host := range hosts {
			want[i] = host + ":80"
		}
		for _, path := range []string{"/own", "/config", "/service"} {
			for {
				_, u := upstreamVia(t, r.gateway.Table(), path)
				if u.Fault == 0 && slices.Equal(addresses(u), want) {
					break
				}
				<-r.published
			}
		}
	}
	if again, _ := upstreamVia(t, r.gateway.Table(), "/still"); again != still {
		t.Error("a config that rests on nothing was compiled again")
	}
	// What the route's own upstream asks for is noted beside what its plugin does.
	for _, q := range []discovery.Query{{Type: "consul", Name: "web"}, {Name: "localhost"}} {
		if _, _, err := r.discovery.Pool.Lookup(q); err != nil {
			t.Errorf("%+v: %v", q, err)
		}
	}
	// A change of the object for another reason keeps what it asks for.
	submit(t, r.gateway, stored(gateway.Routes, "1", `{"uri":"/own","priority":3,`+plugins+`}`))
	r.set(false, "10.0.0.7")
	for {
		if _, u := upstreamVia(t, r.gateway.Table(), "/own"); slices.Equal(addresses(u), []string{"10.0.0.7:80"}) {
			break
		}
		<-r.published
	}
}

// TestWriteAsksFirstForPlugins: what a plugin's upstream needs is known with the answer to the write.
func TestWriteAsksFirstForPlugins(t *testing.T) {
	r := newRegistry(t, []string{"10.0.0.1"})
	route := stored(gateway.Routes, "1", `{"uri":"/","plugins":{"toy-via":{"upstream":`+found+`}}}`)
	r.discovery.Prefetch(t.Context(), route.Value)
	submit(t, r.gateway, route)
	if _, u := upstreamVia(t, r.gateway.Table(), "/"); u.Fault != 0 || len(u.Nodes) != 1 {
		t.Errorf("got %+v", u)
	}
}

// TestPluginsUpstreamPresentsCertificate: `tls.client_cert_id` inside a plugin's config follows its ssl object, beside the
// one of the route's own upstream.
func TestPluginsUpstreamPresentsCertificate(t *testing.T) {
	ca := certtest.New(t, "ca")
	first, second := ca.Issue(t, "first"), ca.Issue(t, "second")
	config := func(id string) string {
		return `{"scheme":"https","nodes":{"n:1":1},"tls":{"client_cert_id":"` + id + `"}}`
	}
	table := compileAll(t, toyCompiler(""),
		sslObject(t, "a", first, `,"type":"client"`), sslObject(t, "b", first, `,"type":"client"`),
		`routes 1 {"uri":"/","plugins":{"toy-via":{"upstream":`+config("a")+`}},"upstream":`+config("b")+`}`,
	)
	check := func(name string, u *gateway.Upstream, want *certtest.Pair) {
		t.Helper()
		if u.Fault != 0 || u.ClientCertificate == nil || !bytes.Equal(u.ClientCertificate.Certificate[0], want.TLS(t).Certificate[0]) {
			t.Errorf("%s: not the certificate of the object: %s", name, u.FaultReason)
		}
	}
	_, u := upstreamVia(t, table, "/")
	check("at first", u, &first)
	table = mustChange(t, table, sslObject(t, "a", second, `,"type":"client"`))
	_, u = upstreamVia(t, table, "/")
	check("the plugin's changed", u, &second)
	check("the route's stays", get(table, "h", "/").Upstream, &first)
	table = mustChange(t, table, sslObject(t, "b", second, `,"type":"client"`))
	check("the route's changed", get(table, "h", "/").Upstream, &second)
	table = mustChange(t, table, "ssls a")
	if _, u = upstreamVia(t, table, "/"); u.Fault != 503 {
		t.Errorf("deleted: %+v", u)
	}
}
