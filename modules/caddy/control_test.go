// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestControlAPI(t *testing.T) {
	s := newSite(t)
	port := freePort(t)
	control := fmt.Sprintf(`, "control": {"listen": "127.0.0.1:%s"}`, port)
	s.mustLoad(gatewayHandler, control)
	s.expect(s.do("PUT", s.admin, "/apisix/admin/upstreams/u", `{"nodes":{"n:1":1}}`)[:3], "201")
	if got := s.get(port, "/v1/upstream/u"); !strings.HasPrefix(got, `200 {"key":"/apisix/upstreams/u",`) {
		t.Errorf("got %s", got)
	}
	// It outlives the config, and follows the gateway of the newest.
	s.store = `{"module":"memory"}`
	s.mustLoad(gatewayHandler, control)
	s.expect(s.get(port, "/v1/upstream/u"), `404 {"error_msg":"upstream[u] not found"}`)
	s.mustLoad(gatewayHandler, `, "control": {"disabled": true}`)
	// A reload does not wait for what is under way on an address that it gives up.
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			break
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("it is switched off and listens")
		}
	}
}

// Somebody else has the address: the gateway serves all the same.
func TestControlAddressTaken(t *testing.T) {
	s := newSite(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s.mustLoad(gatewayHandler, fmt.Sprintf(`, "control": {"listen": %q}`, ln.Addr()))
	s.expect(s.get(s.port, "/"), noRoute)
}

func TestOneAddressForTwoAPIs(t *testing.T) {
	s := newSite(t)
	for fields, want := range map[string]string{
		fmt.Sprintf(`, "control": {"listen": "127.0.0.1:%s"}`, s.admin): "control: listen: 127.0.0.1:" + s.admin + " is the address of admin",
		`, "status": {"listen": "127.0.0.1:9090"}`:                      "status: listen: 127.0.0.1:9090 is the address of control",
		`, "status": {}`:                       `status: listen: one TCP address is expected, not ""`,
		`, "control": {"listen": "udp/:9090"}`: `control: listen: one TCP address is expected, not "udp/:9090"`,
	} {
		if err := s.load(gatewayHandler, fields, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", fields, err, want)
		}
	}
}

func TestDefaultControlAddress(t *testing.T) {
	a := &App{Admin: &AdminConfig{Listen: "localhost:9180"}}
	if err := a.provisionControl(); err != nil || a.Control.Listen != "127.0.0.1:9090" || a.Status != nil {
		t.Errorf("got %+v, %+v, %v", a.Control, a.Status, err)
	}
}

func TestStatusAPI(t *testing.T) {
	s := newSite(t)
	if got := notReady(); len(got) != 2 {
		t.Errorf("nothing runs: %q", got)
	}
	port := freePort(t)
	status := fmt.Sprintf(`, "status": {"listen": "127.0.0.1:%s"}`, port)
	s.mustLoad(gatewayHandler, status)
	s.expect(s.get(port, "/status"), `200 {"status":"ok"}`)
	s.expect(s.get(port, "/status/ready"), `200 {"status":"ok"}`)
	// A config that fails leaves the one before ready.
	if err := s.load(gatewayHandler, status, `, "test_stumbling": {}`); err == nil {
		t.Fatal("it was taken")
	}
	s.expect(s.get(port, "/status/ready"), `200 {"status":"ok"}`)
}

// While the store is being opened the process lives and is not ready.
func TestNotReadyUntilTheTableIsServed(t *testing.T) {
	s := newSite(t)
	port := freePort(t)
	address := "127.0.0.1:" + port
	app := &App{Status: &StatusConfig{Listen: address}}
	lease, err := app.Status.listen()
	if err != nil {
		t.Fatal(err)
	}
	defer lease.release()
	s.expect(s.get(port, "/status"), `200 {"status":"ok"}`)
	if got := s.get(port, "/status/ready"); !strings.HasPrefix(got, `503 {"status":"error","error":"the gateway has not received configuration; `) {
		t.Errorf("got %s", got)
	}
	s.mustLoad(gatewayHandler, "")
	s.expect(s.get(port, "/status/ready"), `200 {"status":"ok"}`)
}

func TestFileStore(t *testing.T) {
	s := newSite(t)
	path := filepath.Join(t.TempDir(), "apisix.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.store = fmt.Sprintf(`{"module":"file","path":%q}`, path)
	if err := s.load(gatewayHandler, "", ""); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("without a file: %v", err)
	}
	write("routes: [{id: r, uri: /r, upstream: {nodes: {'" + node(t, "n") + "': 1}}}]\n#END\n")
	s.mustLoad(gatewayHandler, "")
	s.expect(s.get(s.port, "/r"), "200 n /r ")
	s.expect(s.do("DELETE", s.admin, "/apisix/admin/routes/r", ""),
		`403 {"error_msg":"file store: objects are kept in a file that is only read: change the file instead"}`)
	s.expect(s.get(s.port, "/r"), "200 n /r ")
}

func TestStandaloneStore(t *testing.T) {
	s := newSite(t)
	s.store = `{"module":"standalone"}`
	s.mustLoad(gatewayHandler, "")
	s.expect(s.get(s.admin, "/apisix/admin/routes")[:3], "404")
	doc := fmt.Sprintf(`{"routes":[{"id":"r","uri":"/r","upstream":{"nodes":{%q:1}}}]}`, node(t, "n"))
	s.expect(s.do("PUT", s.admin, "/apisix/admin/configs", doc, "X-Digest", "1"), "202 ")
	s.expect(s.get(s.port, "/r"), "200 n /r ")
	// The document outlives a reload, with what is known of it.
	s.mustLoad(gatewayHandler, `, "show_upstream_status": true`)
	s.expect(s.get(s.port, "/r"), "200 n /r ")
	s.expect(s.do("PUT", s.admin, "/apisix/admin/configs", doc, "X-Digest", "1"), "204 ")
}
