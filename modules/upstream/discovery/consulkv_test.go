// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// pairs is what Consul answers for keys, each with its value behind it.
func pairs(keysAndValues ...string) string {
	var all []string
	for pair := range slices.Chunk(keysAndValues, 2) {
		value := `"` + base64.StdEncoding.EncodeToString([]byte(pair[1])) + `"`
		if pair[1] == "" {
			value = "null"
		}
		all = append(all, fmt.Sprintf(`{"LockIndex":0,"Key":%q,"Flags":0,"Value":%s,"CreateIndex":5,"ModifyIndex":5}`, pair[0], value))
	}
	return "[" + strings.Join(all, ",") + "]"
}

func TestConsulKV(t *testing.T) {
	c := newFakeConsul(t)
	const path = "/v1/kv/upstreams/web%20a/?recurse=true"
	c.bodies[path] = pairs(
		"upstreams/web a/10.0.0.1:80", ` {"weight": 120, "max_fails": 2, "fail_timeout": 1}`,
		"upstreams/web a/10.0.0.2:81", `{}`,
		"upstreams/web a/10.0.0.3:81", `{"weight":0}`,
		"upstreams/web a/[fd00::1]:81", `{}`,
		"upstreams/web a/10.0.0.4:81", ``,
		"upstreams/web a/10.0.0.5:81", `weight=1`,
		"upstreams/web a/10.0.0.6:81", `{"check_status":false}`,
		"upstreams/web a/10.0.0.7:81", `{"check_status":"false"}`,
		"upstreams/web a/below/10.0.0.8:81", `{}`,
		"upstreams/web a/10.0.0.9", `{}`,
		"upstreams/web a/", `{}`,
	)
	q := Query{Type: "consul_kv", Name: c.URL + "/v1/kv/upstreams/web a/"}
	settings := fmt.Sprintf(`{"consul_kv":{"servers":["http://127.0.0.1:1",%q],"token":"secret","weight":3,"skip_keys":["upstreams/no/"],
		"default_service":{"host":"10.0.1.1","port":7,"metadata":{"fail_timeout":1,"weight":1,"max_fails":1}}}}`, c.URL)
	short, below := Query{Type: "consul_kv", Name: "upstreams/web a"}, Query{Type: "consul_kv", Name: "upstreams/none/"}
	elsewhere, skipped := Query{Type: "consul_kv", Name: c.URL + "/v1/kv/other/web/"}, Query{Type: "consul_kv", Name: "upstreams/no/"}
	p := pooled(t, settings, q, short, below, elsewhere, skipped)
	nodes := untilHosts(t, p, q, "10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1")
	for i, want := range []Node{{Host: "10.0.0.1", Port: 80, Weight: 120}, {Host: "10.0.0.2", Port: 81, Weight: 3}, {Host: "10.0.0.3", Port: 81}} {
		if nodes[i] != want {
			t.Errorf("got %+v, want %+v", nodes[i], want)
		}
	}
	untilHosts(t, p, short, "10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1")
	untilHosts(t, p, below, "10.0.1.1")
	untilHosts(t, p, skipped, "10.0.1.1")
	until(t, p, elsewhere, func(_ []Node, err error) bool {
		return err != nil && strings.Contains(err.Error(), "are below "+strings.TrimPrefix(c.URL, "http://")+"/v1/kv/upstreams/")
	})

	// What changes comes in the answer to the question that waits; what fails changes nothing.
	wait(t, c.blocked)
	c.set(func() { c.bodies[path] = pairs("upstreams/web a/10.0.0.2:81", `{"weight":1}`) })
	untilHosts(t, p, q, "10.0.0.2")
	c.set(func() { c.down = true })
	wait(t, c.failed)
	untilHosts(t, p, q, "10.0.0.2")
	c.set(func() { c.down = false; delete(c.bodies, path) })
	untilHosts(t, p, q, "10.0.1.1")
}
