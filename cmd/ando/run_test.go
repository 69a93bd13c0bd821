// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/andogate/ando/modules/gateway/gatewaytest/certtest"
)

const (
	missingKey = `{"message":"Missing API key in request"}` + "\n"
	noRoute    = `{"error_msg":"404 Route Not Found"}` + "\n"
)

// introduce makes the route and the consumer of README's introduction, whose node is at the address.
func introduce(t *testing.T, m *machine, address string, header ...string) {
	t.Helper()
	header = append(header, "Content-Type", "application/json")
	route := fmt.Sprintf(`{"uri":"/api/*","methods":["GET","POST"],`+
		`"upstream":{"type":"roundrobin","nodes":{%q:1}},"plugins":{"key-auth":{}}}`, address)
	if got := send(t, "PUT", m.adminURL("/apisix/admin/routes/1"), route, header...); got.status != 201 {
		t.Fatalf("route: %+v", got)
	}
	consumer := `{"username":"jack","plugins":{"key-auth":{"key":"jacks-key"}}}`
	if got := send(t, "PUT", m.adminURL("/apisix/admin/consumers"), consumer, header...); got.status != 201 {
		t.Fatalf("consumer: %+v", got)
	}
}

// checkIntroduced checks what README promises of the introduction.
func checkIntroduced(t *testing.T, m *machine) {
	t.Helper()
	expect(t, send(t, "GET", m.gatewayURL("/api/x"), "", "apikey", "jacks-key"), 200, "n1 /api/x jack")
	expect(t, send(t, "GET", m.gatewayURL("/api/x"), ""), 401, missingKey)
	expect(t, send(t, "GET", m.gatewayURL("/other"), ""), 404, noRoute)
}

func TestBuiltIn(t *testing.T) {
	m := newMachine(t)
	p := m.start("run")
	p.waitFor(t, "Next: curl")
	for _, line := range []string{
		"gateway    " + m.gatewayURL(""), "Admin API  " + m.adminURL("/apisix/admin"),
		"store      " + filepath.Join(m.dir, "data", "caddy", "ando", "ando.db"),
	} {
		if !strings.Contains(p.text(), line) {
			t.Errorf("it does not say %q", line)
		}
	}
	introduce(t, m, node(t, "n1"))
	checkIntroduced(t, m)

	if err := p.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	p.waitFor(t, "successfully reloaded config from file")
	checkIntroduced(t, m)

	p.stop(syscall.SIGTERM)
	m.start("run").waitFor(t, "Next: curl")
	checkIntroduced(t, m)
}

// The built-in configuration serves what ssl objects say, over every version of HTTP, and after a restart.
func TestBuiltInTLS(t *testing.T) {
	m := newMachine(t)
	p := m.start("run")
	introduce(t, m, node(t, "n1"))
	ca := certtest.New(t, "ca")
	pair := ca.Issue(t, "shop.test")
	raw, err := json.Marshal(map[string]string{"sni": "shop.test", "cert": pair.Cert, "key": pair.Key})
	if err != nil {
		t.Fatal(err)
	}
	if got := send(t, "PUT", m.adminURL("/apisix/admin/ssls/1"), string(raw)); got.status != 201 {
		t.Fatalf("ssl: %+v", got)
	}
	for range 2 {
		tlsConfig := &tls.Config{ServerName: "shop.test", RootCAs: ca.Pool()}
		for proto, wire := range map[string]http.RoundTripper{
			"HTTP/1.1": &http.Transport{TLSClientConfig: tlsConfig, DisableKeepAlives: true},
			"HTTP/2.0": &http.Transport{TLSClientConfig: tlsConfig.Clone(), DisableKeepAlives: true, ForceAttemptHTTP2: true},
			"HTTP/3.0": &http3.Transport{TLSClientConfig: tlsConfig.Clone()},
		} {
			r, err := http.NewRequest("GET", "https://127.0.0.1:"+m.tlsPort+"/api/x?apikey=jacks-key", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = "shop.test"
			res, err := wire.RoundTrip(r)
			if err != nil {
				t.Fatalf("%s: %v", proto, err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.Proto != proto || string(body) != "n1 /api/x jack" {
				t.Errorf("%s: got %s %d %s", proto, res.Proto, res.StatusCode, body)
			}
			if want := fmt.Sprintf(`h3=":%s"; ma=2592000`, m.tlsPort); proto != "HTTP/3.0" && res.Header.Get("Alt-Svc") != want {
				t.Errorf("%s: got Alt-Svc %q, want %q", proto, res.Header.Get("Alt-Svc"), want)
			}
		}
		p.stop(syscall.SIGTERM)
		p = m.start("run")
	}
}

func TestBuiltInWithCaddysEndpointTaken(t *testing.T) {
	m := newMachine(t)
	ln, err := net.Listen("tcp", "localhost:"+m.caddyAdmin)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	m.start("run").waitFor(t, "localhost:"+m.caddyAdmin+" is taken")
	introduce(t, m, node(t, "n1"))
	checkIntroduced(t, m)
}

func TestCaddyfile(t *testing.T) {
	m := newMachine(t)
	address := node(t, "n1")
	m.write("Caddyfile", `{
	ando {
		admin localhost:$ADMIN {
			key admin {env.ADMIN_KEY}
			key watcher reading viewer
		}
		store memory
		consumer jack {
			plugin key-auth {
				key jacks-key
			}
		}
	}
}
http://:$PORT {
	ando {
		route /api/* {
			methods GET POST
			plugin key-auth
			upstream roundrobin {
				node `+address+`
			}
		}
	}
}
`)
	t.Setenv("ADMIN_KEY", "secret")
	m.start("run")
	checkIntroduced(t, m)

	list := m.adminURL("/apisix/admin/routes")
	expect(t, send(t, "GET", list, ""), 401, `{"error_msg":"failed to check token","description":"missing apikey"}`+"\n")
	if got := send(t, "GET", list, "", "X-API-KEY", "reading"); got.status != 200 || !strings.Contains(got.body, `"/api/*"`) {
		t.Errorf("list: %+v", got)
	}
	if got := send(t, "PUT", m.adminURL("/apisix/admin/consumers"), `{"username":"jack"}`, "X-API-KEY", "secret"); got.status < 400 {
		t.Errorf("a declared object was changed: %+v", got)
	}
}

func TestJSON(t *testing.T) {
	m := newMachine(t)
	m.write("caddy.json", `{
		"apps": {
			"ando": {
				"admin": {"listen": "localhost:$ADMIN"},
				"store": {"module": "bolt", "path": "`+filepath.Join(m.dir, "objects.db")+`"}
			},
			"http": {"servers": {"gateway": {
				"listen": [":$PORT"],
				"automatic_https": {"disable": true},
				"routes": [{"handle": [{"handler": "ando"}]}]
			}}}
		}
	}`)
	m.start("run", "--config", "caddy.json")
	introduce(t, m, node(t, "n1"))
	checkIntroduced(t, m)
}

// generation is a Caddyfile with a site that tells it from others, and a declared route.
const generation = `{
	default_bind ando/
	servers {
		listener_wrappers {
			ando
		}
	}
	ando {
		admin localhost:$ADMIN
	}
}
http://:$PORT {
	respond /generation %[1]s
	ando {
		route /declared {
			upstream {
				node %[2]s
			}
		}
	}
}
%[3]s
`

func TestReload(t *testing.T) {
	m := newMachine(t)
	m.write("Caddyfile", fmt.Sprintf(generation, "first", node(t, "d1"), ""))
	m.start("run")
	introduce(t, m, node(t, "n1"))
	checkIntroduced(t, m)
	expect(t, send(t, "GET", m.gatewayURL("/declared"), ""), 200, "d1 /declared ")
	get := keepAlive(t, m.adminURL("/apisix/admin/routes/1"))
	get()

	m.must("validate", "--config", "Caddyfile")

	m.write("Caddyfile", fmt.Sprintf(generation, "second", node(t, "d2"), ""))
	m.must("reload")
	expect(t, send(t, "GET", m.gatewayURL("/generation"), ""), 200, "second")
	expect(t, send(t, "GET", m.gatewayURL("/declared"), ""), 200, "d2 /declared ")
	checkIntroduced(t, m)
	if reused := get(); !reused {
		t.Error("the reload closed a connection to the Admin API")
	}

	taken, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	site := fmt.Sprintf("http://:%d {\n\trespond no\n}", taken.Addr().(*net.TCPAddr).Port)
	m.write("Caddyfile", fmt.Sprintf(generation, "third", node(t, "d3"), site))
	if out := m.mustFail("reload"); !strings.Contains(out, "address already in use") {
		t.Fatalf("the reload failed for another reason:\n%s", out)
	}
	expect(t, send(t, "GET", m.gatewayURL("/generation"), ""), 200, "second")
	expect(t, send(t, "GET", m.gatewayURL("/declared"), ""), 200, "d2 /declared ")
	checkIntroduced(t, m)
	if reused := get(); !reused {
		t.Error("the failed reload closed a connection to the Admin API")
	}
	// The gateway still takes writes, and Caddy's own endpoint still finds it.
	introduced := send(t, "GET", "http://localhost:"+m.caddyAdmin+"/apisix/admin/routes/1", "")
	if introduced.status != 200 {
		t.Errorf("through Caddy's admin endpoint: %+v", introduced)
	}
	if got := send(t, "DELETE", m.adminURL("/apisix/admin/routes/1"), ""); got.status != 200 {
		t.Errorf("delete: %+v", got)
	}
	expect(t, send(t, "GET", m.gatewayURL("/api/x"), ""), 404, noRoute)
}

// keepAlive returns a function that gets the URL over one connection, and says whether that was still open.
func keepAlive(t *testing.T, url string) func() (reused bool) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	t.Cleanup(client.CloseIdleConnections)
	return func() (reused bool) {
		t.Helper()
		r, err := http.NewRequest("GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		trace := &httptrace.ClientTrace{GotConn: func(conn httptrace.GotConnInfo) { reused = conn.Reused }}
		res, err := client.Do(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1)
		for err == nil {
			_, err = res.Body.Read(buf)
		}
		res.Body.Close()
		return reused
	}
}

func TestAdminMovesAndKeysChange(t *testing.T) {
	m := newMachine(t)
	config := func(address, key string) string {
		return fmt.Sprintf("{\n\tdefault_bind ando/\n\tando {\n\t\tadmin %s {\n\t\t\tkey k %s\n\t\t}\n\t}\n}\nhttp://:$PORT {\n\tando\n}\n", address, key)
	}
	m.write("Caddyfile", config("localhost:$ADMIN", "first"))
	m.start("run")
	list := m.adminURL("/apisix/admin/routes")
	get := keepAlive(t, list)
	get()

	m.write("Caddyfile", config("localhost:$ADMIN", "second"))
	m.must("reload")
	if got := send(t, "GET", list, "", "X-API-KEY", "first"); got.status != 401 {
		t.Errorf("the key before still opens: %+v", got)
	}
	if got := send(t, "GET", list, "", "X-API-KEY", "second"); got.status != 200 {
		t.Errorf("the new key does not open: %+v", got)
	}
	if reused := get(); !reused {
		t.Error("changing a key closed a connection")
	}

	other := freePort(t)
	m.write("Caddyfile", config("localhost:"+other, "second"))
	m.must("reload")
	if got := send(t, "GET", "http://localhost:"+other+"/apisix/admin/routes", "", "X-API-KEY", "second"); got.status != 200 {
		t.Errorf("the new address does not answer: %+v", got)
	}
}

func TestRefusals(t *testing.T) {
	site := "\nhttp://:$PORT {\n\tando\n}\n"
	for name, c := range map[string]struct{ caddyfile, want string }{
		"open to other machines without a key": {
			"{\n\tando {\n\t\tadmin :$ADMIN\n\t}\n}" + site, "set a key (keys in JSON, `key NAME KEY` in the admin block",
		},
		"a site with the Admin API without a key": {
			"http://:$PORT {\n\tando_admin\n}\n", "ando_admin: the Admin API needs a key on a site",
		},
		"an unknown plugin in the allow list": {
			"{\n\tando {\n\t\tplugins key-auth kye-auth\n\t}\n}" + site, `plugins: "kye-auth" is not in this build`,
		},
		"an unknown router": {
			"{\n\tando {\n\t\trouter radix\n\t}\n}" + site, `router: "radix" is not one of radixtree_host_uri`,
		},
		"a trusted address that is none": {
			"{\n\tando {\n\t\ttrusted_addresses 10.0.0.0/33\n\t}\n}" + site, `trusted_addresses: "10.0.0.0/33" is neither`,
		},
		"a plugin that is not allowed": {
			"{\n\tando {\n\t\tplugins response-rewrite\n\t\tglobal_rule g {\n\t\t\tplugin key-auth\n\t\t}\n\t}\n}" + site, "unknown plugin [key-auth]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.write("Caddyfile", c.caddyfile)
			for _, command := range []string{"run", "validate"} {
				if out := m.mustFail(command); !strings.Contains(strings.ReplaceAll(out, `\"`, `"`), c.want) {
					t.Errorf("%s does not say %q:\n%s", command, c.want, out)
				}
			}
		})
	}
}

// A gateway that cannot have its store must not come up beside the one that has it.
func TestStoreInUse(t *testing.T) {
	m := newMachine(t)
	m.start("run")
	m.port, m.tlsPort, m.admin, m.caddyAdmin = freePort(t), freePort(t), freePort(t), freePort(t)
	if out := m.mustFail("run"); !strings.Contains(out, "ando.db") {
		t.Errorf("it does not name the store:\n%s", out)
	}
}
