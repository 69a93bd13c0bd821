// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/prometheus/client_golang/prometheus"
)

// named starts nodes that answer with their names: a, b, c ...
func named(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for i := range n {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "%c", 'a'+i)
		}))
		t.Cleanup(server.Close)
		addrs = append(addrs, server.Listener.Addr().String())
	}
	return addrs
}

// proxy adapts a reverse_proxy directive, with A, B and C for addresses, and serves it.
func proxy(t *testing.T, directive string, addrs ...string) *site {
	t.Helper()
	for i, addr := range addrs {
		directive = strings.ReplaceAll(directive, fmt.Sprintf("<%c>", 'a'+i), addr)
	}
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(":80 {\n"+directive+"\n}\n"), nil)
	if err != nil {
		t.Fatalf("%s: %v", directive, err)
	}
	var config struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct {
					Routes []struct{ Handle []json.RawMessage }
				}
			}
		}
	}
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.mustLoad(string(config.Apps.HTTP.Servers["srv0"].Routes[0].Handle[0]), "")
	return s
}

// row is what so many requests get, one after the other.
func (s *site) row(n int, header ...string) (row string) {
	for range n {
		row += strings.TrimPrefix(s.get(s.port, "/?user=jack", header...), "200 ")
	}
	return row
}

// rotates reports whether got goes through period again and again, from anywhere on.
func rotates(got, period string) bool { return strings.Contains(strings.Repeat(period, 3), got) }

func TestRoundRobinPolicy(t *testing.T) {
	addrs := named(t, 2)
	s := proxy(t, "reverse_proxy <a> <b> {\n lb_policy ando_roundrobin 3 1\n}", addrs...)
	if got := s.row(8); !rotates(got, "aaba") {
		t.Errorf("got %s, want aaba again and again", got)
	}
	s = proxy(t, "reverse_proxy <a> <b> {\n lb_policy ando_roundrobin 0\n}", addrs...)
	s.expect(s.row(4), "bbbb")
}

// TestPolicySkipsTried has Caddy try again: never at the upstream that has just failed.
func TestPolicySkipsTried(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := ln.Addr().String()
	ln.Close()
	addrs := append(named(t, 1), dead)
	for _, policy := range []string{"ando_roundrobin 1 99", "ando_least_conn 1 99", "ando_ewma", "ando_chash $arg_user"} {
		s := proxy(t, "reverse_proxy <a> <b> {\n lb_policy "+policy+"\n lb_retries 1\n}", addrs...)
		if got := s.row(20); got != strings.Repeat("a", 20) {
			t.Errorf("%s: got %s", policy, got)
		}
	}
}

func TestChashPolicy(t *testing.T) {
	addrs := named(t, 3)
	for _, key := range []string{"$arg_user", "header X-User", "cookie sid", "$arg_user-$http_x_user", ""} {
		s := proxy(t, "reverse_proxy <a> <b> <c> {\n lb_policy ando_chash "+key+"\n}", addrs...)
		first := s.row(1, "X-User", "0", "Cookie", "sid=0")
		s.expect(s.row(6, "X-User", "0", "Cookie", "sid=0"), strings.Repeat(first, 6))
		if !strings.HasPrefix(key, "header") && !strings.HasPrefix(key, "cookie") {
			continue
		}
		seen := map[string]bool{}
		for i := range 60 {
			value := fmt.Sprint(i)
			seen[s.row(1, "X-User", value, "Cookie", "sid="+value)] = true
		}
		if len(seen) != 3 {
			t.Errorf("%s: 60 keys are on %d nodes", key, len(seen))
		}
	}
}

// TestLeastConnPolicy holds a request at one node: others go to the other one.
func TestLeastConnPolicy(t *testing.T) {
	// A request counts until Caddy is done with it, which may be after its answer: the busy node has more under way than
	// can be left of the idle one's.
	const each = 8
	entered := make(chan string, 2*each)
	release := map[string]chan struct{}{"a": make(chan struct{}), "b": make(chan struct{})}
	var addrs []string
	for _, name := range []string{"a", "b"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hold" {
				entered <- name
				<-release[name]
			}
			fmt.Fprint(w, name)
		}))
		t.Cleanup(server.Close)
		addrs = append(addrs, server.Listener.Addr().String())
	}
	s := proxy(t, "reverse_proxy <a> <b> {\n lb_policy ando_least_conn\n}", addrs...)
	held := make(chan string, 2*each)
	busy := map[string]int{}
	for range 2 * each {
		go func() { held <- s.get(s.port, "/hold") }()
		busy[<-entered]++
	}
	if busy["a"] != each || busy["b"] != each {
		t.Errorf("got %v, want as many for each", busy)
	}
	close(release["a"])
	for range each {
		s.expect(<-held, "200 a")
	}
	s.expect(s.row(6), "aaaaaa")
	close(release["b"])
	for range each {
		s.expect(<-held, "200 b")
	}
}

func TestEWMAPolicy(t *testing.T) {
	s := proxy(t, "reverse_proxy <a> <b> {\n lb_policy ando_ewma\n}", named(t, 2)...)
	for _, node := range s.row(20) {
		if node != 'a' && node != 'b' {
			t.Errorf("got %c", node)
		}
	}
}

func TestUpstreamsSource(t *testing.T) {
	addrs := named(t, 3)
	s := proxy(t, "reverse_proxy {\n dynamic ando {\n  node <a> weight=3\n  node <b>\n  node <c> weight=9 priority=-1\n }\n}", addrs...)
	if got := s.row(8); !rotates(got, "aaba") {
		t.Errorf("got %s, want aaba again and again", got)
	}
	s = proxy(t, "reverse_proxy {\n dynamic ando chash $arg_user {\n  node <a>\n  node <b>\n  node <c>\n }\n}", addrs...)
	first := s.row(1)
	s.expect(s.row(5), strings.Repeat(first, 5))
	s = proxy(t, "reverse_proxy {\n dynamic ando `{\"type\":\"roundrobin\",\"nodes\":{\"<b>\":1}}`\n}", addrs...)
	s.expect(s.row(2), "bb")
}

// TestUpstreamsSourceChecksHealth has requests find out that a node is dead: the next one does without it, and there is
// no second try.
func TestUpstreamsSourceChecksHealth(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := ln.Addr().String()
	ln.Close()
	const checks = "checks `{\"active\":{\"type\":\"tcp\",\"healthy\":{\"interval\":3600}},\"passive\":{\"unhealthy\":{\"tcp_failures\":1}}}`"
	// least_conn prefers the dead node as long as it is there.
	s := proxy(t, "reverse_proxy {\n lb_retries 1\n dynamic ando least_conn {\n  node <b> weight=100\n  node <a>\n  "+checks+"\n }\n}",
		named(t, 1)[0], dead)
	s.expect(s.row(1), "a")
	reports := siteHealth().Reports()
	if len(reports) != 1 || reports[0].Nodes[0].Status.Up() || !strings.HasPrefix(reports[0].Key, "reverse_proxy/") {
		t.Errorf("got %+v", reports)
	}
	s.expect(s.row(3), "aaa")
	_, port, _ := net.SplitHostPort(dead)
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(nodeHealth{})
	families, err := metrics.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%d metrics (%v)", len(families), err)
	}
	values := map[string]float64{}
	for _, m := range families[0].GetMetric() {
		for _, label := range m.GetLabel() {
			if label.GetName() == "port" {
				values[label.GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	if value, ok := values[port]; families[0].GetName() != "ando_upstream_node_healthy" || len(values) != 2 || !ok || value != 0 {
		t.Errorf("%s by port: %v", families[0].GetName(), values)
	}
	s.mustLoad(gatewayHandler, "")
	if reports := siteHealth().Reports(); len(reports) != 0 {
		t.Errorf("checks go on without the config: %+v", reports)
	}
}

func TestSelectionCaddyfileErrors(t *testing.T) {
	for directive, want := range map[string]string{
		"reverse_proxy a:1 {\n lb_policy ando_roundrobin x\n}":       `weight "x": a number from 0 up is expected`,
		"reverse_proxy a:1 {\n lb_policy ando_chash user\n}":         `key "user": a variable such as $remote_addr, header NAME or cookie NAME is expected`,
		"reverse_proxy a:1 {\n lb_policy ando_chash header\n}":       "wrong argument count",
		"reverse_proxy {\n dynamic ando {\n  node a weight=x\n }\n}": `node a: weight=N or priority=N is expected, not "weight=x"`,
		"reverse_proxy {\n dynamic ando {\n  nodes a\n }\n}":         `unrecognized option "nodes": node and checks are known`,
		"reverse_proxy {\n dynamic ando {\n  checks {\n }\n }\n}":    "checks: a JSON object in backquotes is expected",
	} {
		_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(":80 {\n"+directive+"\n}\n"), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\ngot  %v\nwant %s", directive, err, want)
		}
	}
}

func TestSelectionConfigErrors(t *testing.T) {
	for config, want := range map[string]string{
		`{"handler":"reverse_proxy","upstreams":[{"dial":"a:1"}],"load_balancing":{"selection_policy":{"policy":"ando_chash","hash_on":"moon","key":"x"}}}`: `hash_on "moon" with key "x"`,
		`{"handler":"reverse_proxy","upstreams":[{"dial":"a:1"}],"load_balancing":{"selection_policy":{"policy":"ando_ewma","weights":[-1]}}}`:              `-1 is not a weight`,
		`{"handler":"reverse_proxy","dynamic_upstreams":{"source":"ando","upstream":{"type":"best","nodes":{"a:1":1}}}}`:                                    `unknown balancing algorithm "best"`,
		`{"handler":"reverse_proxy","dynamic_upstreams":{"source":"ando","upstream":{"type":"roundrobin","nodes":{}}}}`:                                     `has no nodes`,
	} {
		if err := newSite(t).load(config, "", ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\ngot  %v\nwant %s", config, err, want)
		}
	}
}
