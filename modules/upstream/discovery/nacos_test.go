// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // it is what Nacos checks
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakeNacos answers as Nacos's HTTP API does, with its authentication.
type fakeNacos struct {
	*httptest.Server
	mu sync.Mutex
	// hosts are by namespace, group and service.
	hosts map[string]string
	// token is the one that is good, of so many that were given out. ttl is how long they say that they are.
	token  string
	logins int
	ttl    int
	// secret is what questions are signed with; empty is nothing.
	secret string
	down   bool
	asked  chan struct{}
}

func newFakeNacos(t *testing.T) *fakeNacos {
	t.Helper()
	n := &fakeNacos{hosts: map[string]string{}, ttl: 18000, asked: make(chan struct{}, 1)}
	n.Server = httptest.NewServer(n)
	t.Cleanup(n.Close)
	return n
}

func (n *fakeNacos) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
	select {
	case <-n.asked:
	default:
	}
}

func (n *fakeNacos) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case n.asked <- struct{}{}:
	default:
	}
	if n.down {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	switch r.Method + r.URL.Path {
	case "POST/nacos/v1/auth/login":
		n.login(w, r)
	case "GET/nacos/v1/ns/instance/list":
		n.list(w, r)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (n *fakeNacos) login(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("username") != "nacos" || r.FormValue("password") != "pass:word" || r.URL.RawQuery != "" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	n.logins++
	n.token = fmt.Sprint("token", n.logins)
	_ = json.NewEncoder(w).Encode(map[string]any{"accessToken": n.token, "tokenTtl": n.ttl, "globalAdmin": true})
}

func (n *fakeNacos) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Get("accessToken") != n.token || query.Get("healthyOnly") != "true" || !n.signed(r) || r.Header.Get("Authorization") != "" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	group, service := query.Get("groupName"), query.Get("serviceName")
	hosts := n.hosts[query.Get("namespaceId")+"/"+group+"/"+service]
	fmt.Fprintf(w, `{"name":"%s@@%s","groupName":%q,"clusters":"","cacheMillis":10000,"hosts":[%s],"valid":true}`, group, service, group, hosts)
}

func (n *fakeNacos) signed(r *http.Request) bool {
	if n.secret == "" {
		return true
	}
	query := r.URL.Query()
	mac := hmac.New(sha1.New, []byte(n.secret))
	mac.Write([]byte(query.Get("data")))
	_, about, _ := strings.Cut(query.Get("data"), "@@")
	return query.Get("ak") == "access" && query.Get("signature") == base64.StdEncoding.EncodeToString(mac.Sum(nil)) &&
		about == query.Get("groupName")+"@@"+query.Get("serviceName")
}

func nacosInstance(ip, more string) string {
	return fmt.Sprintf(`{"instanceId":"%[1]s#80#DEFAULT","ip":%[1]q,"port":80,"healthy":true,"enabled":true,"ephemeral":true%[2]s}`, ip, more)
}

func TestNacos(t *testing.T) {
	n := newFakeNacos(t)
	n.hosts["public/DEFAULT_GROUP/web"] = strings.Join([]string{
		nacosInstance("10.0.0.1", `,"weight":1.0,"metadata":{"gRPC_port":"9090"}`),
		nacosInstance("10.0.0.2", `,"weight":5.0,"metadata":{"gRPC_port":"99999"}`),
		nacosInstance("10.0.0.3", ``),
		`{"ip":"10.0.0.4","port":80,"weight":1.0,"healthy":false,"enabled":true}`,
		`{"ip":"10.0.0.5","port":80,"weight":1.0,"healthy":true,"enabled":false}`,
		nacosInstance("10.0.0.6", `,"weight":0.0`),
	}, ",")
	n.hosts["ns/g/web"] = nacosInstance("10.0.1.1", `,"weight":0.5`) + "," + nacosInstance("10.0.1.2", `,"weight":2.0`) + "," + nacosInstance("10.0.1.3", ``)
	q := NewQuery("nacos", "web", nil)
	other := NewQuery("nacos", "web", json.RawMessage(`{"namespace_id":"ns","group_name":"g"}`))
	none := NewQuery("nacos", "web", json.RawMessage(`{"group_name":"g"}`))
	settings := fmt.Sprintf(`{"nacos":{"host":["http://127.0.0.1:1",%q],"fetch_interval":0.001}}`, strings.Replace(n.URL, "//", "//nacos:pass%3Aword@", 1))
	p := pooled(t, settings, q, other, none)
	for _, c := range []struct {
		q    Query
		want []Node
	}{
		{q, []Node{
			{Host: "10.0.0.1", Port: 80, Weight: 1, GRPCPort: 9090},
			{Host: "10.0.0.2", Port: 80, Weight: 5},
			{Host: "10.0.0.3", Port: 80, Weight: 100},
			{Host: "10.0.0.6", Port: 80},
		}},
		{other, []Node{{Host: "10.0.1.1", Port: 80, Weight: 50}, {Host: "10.0.1.2", Port: 80, Weight: 200}, {Host: "10.0.1.3", Port: 80, Weight: 10000}}},
		{none, nil},
	} {
		if nodes := until(t, p, c.q, func(_ []Node, err error) bool { return err == nil }); !slices.Equal(nodes, c.want) {
			t.Errorf("%+v: got %+v, want %+v", c.q, nodes, c.want)
		}
	}
	n.set(func() {
		if n.logins != 1 {
			t.Errorf("%d logins for three services", n.logins)
		}
		// A token that has ended early is replaced at once.
		n.token = ""
		n.hosts["public/DEFAULT_GROUP/web"] = nacosInstance("10.0.0.7", "")
	})
	untilHosts(t, p, q, "10.0.0.7")
	n.set(func() { n.down = true })
	wait(t, n.asked)
	wait(t, n.asked)
	untilHosts(t, p, q, "10.0.0.7")
	n.set(func() { n.down, n.hosts = false, map[string]string{} })
	untilHosts(t, p, q)
}

func TestNacosSigned(t *testing.T) {
	n := newFakeNacos(t)
	n.secret = "hidden"
	n.hosts["public/g/web"] = nacosInstance("10.0.0.1", ``)
	q := NewQuery("nacos", "web", json.RawMessage(`{"group_name":"g"}`))
	p := pooled(t, fmt.Sprintf(`{"nacos":{"host":%q,"prefix":"nacos/v1","access_key":"access","secret_key":"hidden","fetch_interval":0.001}}`, n.URL), q)
	untilHosts(t, p, q, "10.0.0.1")
}
