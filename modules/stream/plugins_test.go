// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	_ "github.com/andogate/ando/modules/plugins/iprestriction"
	_ "github.com/andogate/ando/modules/plugins/limitconn"
	_ "github.com/andogate/ando/modules/plugins/mqttproxy"
	_ "github.com/andogate/ando/modules/plugins/trafficsplit"
)

// with adds plugins to a route.
func with(plugins, route string) string {
	return strings.Replace(route, "{", `{"plugins":`+plugins+`,`, 1)
}

func TestIPRestriction(t *testing.T) {
	node := echo(t, "n")
	r := newRig(t, nil, with(`{"ip-restriction":{"whitelist":["127.0.0.0/24"]}}`, to("", node.addr)))
	says(t, r.dial(), "x", "n x")
	r.put("r0", with(`{"ip-restriction":{"blacklist":["127.0.0.1"]}}`, to("", node.addr)))
	isClosed(t, r.dial())
	r.put("r0", with(`{"ip-restriction":{"blacklist":["127.0.0.1"],"_meta":{"filter":[["remote_addr","==","10.0.0.1"]]}}}`, to("", node.addr)))
	says(t, r.dial(), "x", "n x")
}

func TestLimitConn(t *testing.T) {
	r := newRig(t, nil, with(`{"limit-conn":{"conn":1,"burst":1,"default_conn_delay":0.001,"only_use_default_delay":true,"key":"remote_addr"}}`,
		to("", echo(t, "n").addr)))
	first, second := r.dial(), r.dial()
	says(t, first, "x", "n x")
	says(t, second, "x", "n x")
	isClosed(t, r.dial())
	_ = first.Close()
	eventually(t, "the end of one", func() bool { return r.proxy.Open() == 1 })
	says(t, r.dial(), "x", "n x")
}

func TestTrafficSplit(t *testing.T) {
	a, b := echo(t, "a"), echo(t, "b")
	r := newRig(t, nil, with(fmt.Sprintf(
		`{"traffic-split":{"rules":[{"match":[{"vars":[["server_port","==","1"]]}],"weighted_upstreams":[{"upstream_id":"nope"}]},`+
			`{"match":[{"vars":[["remote_addr","==","127.0.0.1"]]}],"weighted_upstreams":[{"upstream":{"nodes":{%q:1}}},{}]}]}}`, b.addr), to("", a.addr)))
	heard := map[string]int{}
	for range 10 {
		conn := r.dial()
		if _, err := io.WriteString(conn, "x\n"); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 4)
		if _, err := io.ReadFull(conn, line); err != nil {
			t.Fatal(err)
		}
		heard[string(line)]++
	}
	if heard["a x\n"] != 5 || heard["b x\n"] != 5 {
		t.Errorf("got %v", heard)
	}
}

// connectPacket is MQTT 3.1.1's.
func connectPacket(clientID string) string {
	return string([]byte{0x10, byte(12 + len(clientID)), 0, 4}) + "MQTT" + string([]byte{4, 2, 0, 60, 0, byte(len(clientID))}) + clientID
}

// TestMQTT: each client has one node, which gets what the client has sent.
func TestMQTT(t *testing.T) {
	broker := func(name string) string {
		return serve(t, nil, func(conn net.Conn) {
			b := make([]byte, 14)
			if _, err := io.ReadFull(conn, b); err != nil || string(b[4:8]) != "MQTT" {
				return
			}
			id := make([]byte, b[13])
			_, _ = io.ReadFull(conn, id)
			_, _ = fmt.Fprintf(conn, "%s knows %s\n", name, id)
			_, _ = io.Copy(conn, conn)
		}).addr
	}
	r := newRig(t, nil, with(`{"mqtt-proxy":{"protocol_level":4}}`, to(`,"type":"chash","key":"mqtt_client_id"`, broker("a"), broker("b"))))
	at := func(id string) string {
		t.Helper()
		conn := r.dial()
		// Not all at once.
		packet := connectPacket(id)
		for _, part := range []string{packet[:1], packet[1:9], packet[9:]} {
			if _, err := io.WriteString(conn, part); err != nil {
				t.Fatal(err)
			}
		}
		line := make([]byte, len("a knows \n")+len(id))
		if _, err := io.ReadFull(conn, line); err != nil || string(line[1:]) != " knows "+id+"\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		says(t, conn, "publish", "publish")
		return string(line[:1])
	}
	seen := map[string]bool{}
	for i := range 20 {
		id := fmt.Sprint("sensor", i)
		node := at(id)
		seen[node] = true
		if again := at(id); again != node {
			t.Errorf("%s is at %s and at %s", id, node, again)
		}
	}
	if len(seen) != 2 {
		t.Errorf("all clients are at %v", seen)
	}
	conn := r.dial()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	isClosed(t, conn)
}
