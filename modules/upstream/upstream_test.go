// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/upstream/discovery"
)

func compile(t *testing.T, config string, prior *gateway.Upstream) *gateway.Upstream {
	t.Helper()
	u, err := Compile("/apisix/upstreams/1", json.RawMessage(config), prior, Surroundings{})
	if err != nil {
		t.Fatalf("%s: %v", config, err)
	}
	return u
}

func TestNodes(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{
			`{"nodes":{"127.0.0.1:1980":1,"b.example":2}}`,
			"127.0.0.1:1980 127.0.0.1:1980 1 0; b.example:80 b.example 2 0",
		},
		{`{"nodes":{"127.0.0.1:80":1.0}}`, "127.0.0.1:80 127.0.0.1 1 0"},
		{`{"nodes":{"[::1]:8080":1,"[::2]":1}}`, "[::1]:8080 [::1]:8080 1 0; [::2]:80 [::2] 1 0"},
		{`{"nodes":{"a":1},"scheme":"https"}`, "a:443 a 1 0"},
		{`{"nodes":{"a:80":1},"scheme":"https"}`, "a:80 a:80 1 0"},
		{`{"nodes":{"a":1},"scheme":"grpc"}`, "a:80 a 1 0"},
		{`{"nodes":{"a":1},"scheme":"grpcs"}`, "a:443 a 1 0"},
		{`{"nodes":{"a:5432":1},"scheme":"tcp"}`, "a:5432 a:5432 1 0"},
		{
			`{"nodes":[{"host":"a","port":81,"weight":0},{"host":"[::1]","weight":3,"priority":-2}]}`,
			"a:81 a:81 0 0; [::1]:80 [::1] 3 -2",
		},
		{
			`{"nodes":[{"host":"a","port":81,"weight":1},{"host":"b","weight":1},{"host":"a","port":81,"weight":7},{"host":"a","port":81,"weight":5,"priority":1}]}`,
			"a:81 a:81 7 0; b:80 b 1 0; a:81 a:81 5 1",
		},
	} {
		u := compile(t, c.config, nil)
		var got []string
		for _, n := range u.Nodes {
			got = append(got, fmt.Sprint(n.Addr, " ", n.HostHeader, " ", n.Weight, " ", n.Priority))
		}
		if text := strings.Join(got, "; "); text != c.want || u.Fault != 0 || u.Balancer == nil {
			t.Errorf("%s:\ngot  %s (fault %d %s)\nwant %s", c.config, text, u.Fault, u.FaultReason, c.want)
		}
	}
}

func TestNodesOfOneAddressShareTheirState(t *testing.T) {
	u := compile(t, `{"nodes":[{"host":"a","weight":1},{"host":"a","weight":1,"priority":1}]}`, nil)
	if u.Nodes[0].State != u.Nodes[1].State {
		t.Error("one address is counted twice")
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		config string
		fault  int
		reason string
	}{
		{`{}`, 503, "the upstream has no nodes"},
		{`{"nodes":{}}`, 503, "the upstream has no nodes"},
		{`{"nodes":[]}`, 503, "the upstream has no nodes"},
		{
			`{"nodes":{"a":1},"type":"fastest"}`, 500,
			`unknown balancing algorithm "fastest": roundrobin, chash, least_conn and ewma are known`,
		},
		{`{"nodes":{"a":1},"scheme":"kafka"}`, 503, "node a has no port, and scheme kafka has no default"},
		{`{"service_name":"shop","discovery_type":"dns"}`, 503, `service "shop" of discovery_type "dns": service discovery is not available here`},
		{
			`{"nodes":{"a":1},"tls":{"client_cert_id":"1"}}`, 503,
			"tls.client_cert_id 1: certificates cannot be referred to from here: put the pair into tls.client_cert and tls.client_key",
		},
	} {
		u := compile(t, c.config, nil)
		if u.Fault != c.fault || u.FaultReason != c.reason {
			t.Errorf("%s: got %d %q, want %d %q", c.config, u.Fault, u.FaultReason, c.fault, c.reason)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{`{"nodes":{"a:0":1}}`, "invalid port 0"},
		{`{"nodes":{"a:65536":1}}`, "invalid port 65536"},
		{`{"nodes":{"a:http":1}}`, "invalid port http"},
		{`{"nodes":{"::1:x:80":1}}`, "IPv6 address must be enclosed with '[' and ']'"},
		{`{"nodes":[{"host":"a","port":70000,"weight":1}]}`, "invalid port 70000"},
		{`{"nodes":[{"host":"a:80","weight":1}]}`, `invalid node host "a:80": the port belongs into port`},
		{
			`{"nodes":{"a":1},"tls":{"client_cert":"x","client_key":"y"}}`,
			"failed to load tls.client_cert with tls.client_key: tls: failed to find any PEM data in certificate input",
		},
	} {
		_, err := Compile("k", json.RawMessage(c.config), nil, Surroundings{})
		var refusal *gateway.Refusal
		if !errors.As(err, &refusal) || refusal.Message != c.want {
			t.Errorf("%s: got %v, want the refusal %q", c.config, err, c.want)
		}
	}
}

func TestSettings(t *testing.T) {
	u := compile(t, `{
		"id": 7, "name": "n", "labels": {"a": "b"}, "nodes": {"a": 1, "b": 1, "c": 1},
		"scheme": "https", "pass_host": "rewrite", "upstream_host": "u.example",
		"retries": 0, "retry_timeout": 1.5, "timeout": {"connect": 0.25, "send": 2, "read": 3},
		"keepalive_pool": {"size": 5, "requests": 9}, "tls": {"verify": true}, "checks": {"active": {}}}`, nil)
	for _, c := range []struct{ got, want any }{
		{u.Key, "/apisix/upstreams/1"},
		{u.ID, "7"},
		{u.Name, "n"},
		{u.Labels["a"], "b"},
		{u.Type, "roundrobin"},
		{u.Scheme, "https"},
		{u.PassHost, "rewrite"},
		{u.UpstreamHost, "u.example"},
		{u.Retries, 0},
		{u.RetryTimeout, 1500 * time.Millisecond},
		{u.Timeout, gateway.Timeout{Connect: 250 * time.Millisecond, Send: 2 * time.Second, Read: 3 * time.Second}},
		{u.KeepAlive, gateway.KeepAlive{Size: 5, IdleTimeout: time.Minute, Requests: 9}},
		{u.TLSVerify, true},
		{u.Fault, 0},
	} {
		if c.got != c.want {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}

	u = compile(t, `{"nodes": {"a": 1, "b": 1, "c": 1}}`, nil)
	for _, c := range []struct{ got, want any }{
		{u.Scheme, "http"},
		{u.PassHost, "pass"},
		{u.Retries, 2},
		{u.RetryTimeout, time.Duration(0)},
		{u.Timeout, gateway.Timeout{}},
		{u.TLSVerify, false},
		{u.KeepAlive, gateway.KeepAlive{Size: 320, IdleTimeout: time.Minute, Requests: 1000}},
	} {
		if c.got != c.want {
			t.Errorf("default: got %v, want %v", c.got, c.want)
		}
	}
}

func TestCarriesOver(t *testing.T) {
	before := compile(t, `{"nodes":{"a:1":1,"b:1":1,"c:1":1}}`, nil)

	same := compile(t, `{"desc":"other","timeout":{"connect":1,"send":1,"read":1},"nodes":{"a:1":1,"b:1":1,"c:1":1}}`, before)
	if same.Balancer != before.Balancer || same.Nodes[0] != before.Nodes[0] {
		t.Error("a change of other fields made new nodes or a new balancer")
	}

	reweighted := compile(t, `{"nodes":{"a:1":1,"b:1":5,"d:1":1}}`, before)
	switch {
	case reweighted.Nodes[0] != before.Nodes[0]:
		t.Error("a node that did not change is new")
	case reweighted.Nodes[1] == before.Nodes[1]:
		t.Error("a node kept its weight")
	case reweighted.Nodes[1].State != before.Nodes[1].State:
		t.Error("a node of another weight lost its state")
	case reweighted.Nodes[2].State == before.Nodes[2].State:
		t.Error("a new node has the state of an old one")
	case reweighted.Balancer == before.Balancer:
		t.Error("the balancer still has the old nodes")
	}

	if got := compile(t, `{"type":"ewma","nodes":{"a:1":1,"b:1":1,"c:1":1}}`, before); got.Balancer == before.Balancer {
		t.Error("another algorithm has the old balancer")
	}
}

func TestCarriesHashOver(t *testing.T) {
	const config = `{"type":"chash","hash_on":"vars","key":"uri","nodes":{"a:1":1,"b:1":1}}`
	before := compile(t, config, nil)
	if got := compile(t, config, before); got.Balancer != before.Balancer {
		t.Error("nothing changed and the ring is new")
	}
	if got := compile(t, strings.Replace(config, "uri", "host", 1), before); got.Balancer == before.Balancer {
		t.Error("another key is hashed by the old balancer")
	}
	if got := compile(t, strings.Replace(config, "vars", "header", 1), before); got.Balancer == before.Balancer {
		t.Error("another kind of key is hashed by the old balancer")
	}
}

// TestHashOn shows for each kind of key that requests with the same key share a node, and that a request without one goes
// by the client's address.
func TestHashOn(t *testing.T) {
	request := func(value, client string) *gateway.Exchange {
		x := new(gateway.Exchange)
		x.Request.Client = netip.AddrPortFrom(netip.MustParseAddr(client), 1)
		if value == "" {
			return x
		}
		x.Request.Query = "user=" + value
		x.Request.Header.Add("X-User-Id", value)
		x.Request.Header.Add("Cookie", "sid="+value)
		x.Consumer = &gateway.Consumer{Name: value}
		return x
	}
	var nodes []string
	for i := range 40 {
		nodes = append(nodes, fmt.Sprintf(`"10.0.0.%d:80":1`, i+1))
	}
	for _, on := range []string{
		`"hash_on":"vars","key":"arg_user"`, `"key":"arg_user"`, `"hash_on":"header","key":"X-User-Id"`,
		`"hash_on":"cookie","key":"sid"`, `"hash_on":"consumer"`,
		`"hash_on":"vars_combinations","key":"u=$arg_user;c=${cookie_sid}"`,
	} {
		b := compile(t, `{"type":"chash",`+on+`,"nodes":{`+strings.Join(nodes, ",")+`}}`, nil).Balancer
		byKey, byClient := map[*gateway.Node]bool{}, map[*gateway.Node]bool{}
		for i := range 50 {
			client := fmt.Sprintf("192.0.2.%d", i)
			byKey[b.Pick(request("jack", client))] = true
			byClient[b.Pick(request("", client))] = true
			if a, b := b.Pick(request(fmt.Sprint(i), "192.0.2.1")), b.Pick(request(fmt.Sprint(i), "192.0.2.2")); a != b {
				t.Errorf("%s: key %d has two nodes", on, i)
			}
		}
		if len(byKey) != 1 {
			t.Errorf("%s: one key has %d nodes", on, len(byKey))
		}
		if len(byClient) < 10 {
			t.Errorf("%s: 50 clients without a key share %d nodes", on, len(byClient))
		}
	}
}

func TestHashingAllocatesNothing(t *testing.T) {
	x := new(gateway.Exchange)
	x.Request.Client = netip.MustParseAddrPort("192.0.2.1:1")
	x.Request.Header.Add("X-User-Id", "jack")
	x.Request.Header.Add("Cookie", "a=b; sid=1234")
	x.Request.Query = "user=jack"
	for _, on := range []string{
		`"key":"remote_addr"`, `"key":"arg_user"`, `"hash_on":"header","key":"X-User-Id"`, `"hash_on":"cookie","key":"sid"`,
		`"hash_on":"consumer"`,
	} {
		b := compile(t, `{"type":"chash",`+on+`,"nodes":{"a":1,"b":2}}`, nil).Balancer
		if got := testing.AllocsPerRun(100, func() { b.Pick(x) }); got != 0 {
			t.Errorf("%s: %v allocations per pick", on, got)
		}
	}
}

func TestClientCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"nodes": map[string]int{"a": 1}, "scheme": "https",
		"tls": map[string]string{
			"client_cert": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
			"client_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	u := compile(t, string(config), nil)
	if u.ClientCertificate == nil || string(u.ClientCertificate.Certificate[0]) != string(der) {
		t.Error("the client certificate was lost")
	}
}

func BenchmarkCompile(b *testing.B) {
	raw := json.RawMessage(`{"type":"roundrobin","nodes":{"127.0.0.1:1980":1,"127.0.0.1:1981":2}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile("/apisix/upstreams/1", raw, nil, Surroundings{}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestGRPCPort: an instance may have a port of its own for gRPC.
func TestGRPCPort(t *testing.T) {
	around := Surroundings{Discover: func(q discovery.Query) ([]discovery.Node, error) {
		if q != discovery.NewQuery("nacos", "web", json.RawMessage(`{"group_name":"g"}`)) {
			t.Errorf("asked for %+v", q)
		}
		return []discovery.Node{{Host: "10.0.0.1", Port: 80, Weight: 1, GRPCPort: 9090}, {Host: "10.0.0.2", Port: 80, Weight: 1}}, nil
	}}
	for scheme, want := range map[string]string{"http": "10.0.0.1:80", "grpc": "10.0.0.1:9090", "grpcs": "10.0.0.1:9090"} {
		raw := `{"scheme":"` + scheme + `","service_name":"web","discovery_type":"nacos","discovery_args":{"group_name":"g"}}`
		u, err := Compile("k", json.RawMessage(raw), nil, around)
		if err != nil || u.Fault != 0 || len(u.Nodes) != 2 {
			t.Fatalf("%s: %v, %+v", scheme, err, u)
		}
		if u.Nodes[0].Addr != want || u.Nodes[1].Addr != "10.0.0.2:80" {
			t.Errorf("%s: got %s, %s, want %s", scheme, u.Nodes[0].Addr, u.Nodes[1].Addr, want)
		}
	}
}

// TestNamesShareTheirWeight: however many addresses a name has, it gets what its weight says beside other nodes.
func TestNamesShareTheirWeight(t *testing.T) {
	for _, c := range []struct {
		name, nodes, want string
		a, b              int
	}{
		{"one address each", `"a.test":1,"b.test":2,"127.0.0.1":3`, "a1=1 b1=2 127.0.0.1=3", 1, 1},
		{"three addresses", `"a.test":1,"127.0.0.1":2`, "a1=1 a2=1 a3=1 127.0.0.1=6", 3, 0},
		{"three and two", `"a.test":1,"b.test":1,"127.0.0.1":2`, "a1=2 a2=2 a3=2 b1=3 b2=3 127.0.0.1=12", 3, 2},
		{"no weight", `"a.test":0,"127.0.0.1":1`, "a1=0 a2=0 127.0.0.1=2", 2, 0},
		{"too many to stay whole", `"a.test":100,"b.test":3,"127.0.0.1":100`, "a1=14 a2=14 a3=14 a4=14 a5=14 a6=14 a7=14 " +
			"b1=1 b2=1 b3=1 b4=1 b5=1 b6=1 b7=1 b8=1 b9=1 b10=1 b11=1 127.0.0.1=100", 7, 11},
	} {
		counts := map[string]int{"a.test": c.a, "b.test": c.b}
		around := Surroundings{Discover: func(q discovery.Query) (nodes []discovery.Node, err error) {
			for i := range counts[q.Name] {
				nodes = append(nodes, discovery.Node{Host: fmt.Sprint(q.Name[:1], i+1)})
			}
			return nodes, nil
		}}
		u, err := Compile("u", json.RawMessage(`{"nodes":{`+c.nodes+`}}`), nil, around)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, node := range u.Nodes {
			got = append(got, fmt.Sprintf("%s=%d", node.Host, node.Weight))
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
