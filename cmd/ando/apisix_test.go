// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"strings"
	"testing"
)

// APISIX's standalone file is run, loaded into what runs, and adapted.
func TestAPISIXFile(t *testing.T) {
	m := newMachine(t)
	file := func(path string) string {
		return "routes:\n  - uri: " + path + "\n    upstream: {nodes: {\"" + node(t, "n1") + "\": 1}}\n#END\n"
	}
	m.write("apisix.yaml", file("/a"))
	m.start("run", "--config", "apisix.yaml", "--adapter", "apisix")
	expect(t, send(t, "GET", m.gatewayURL("/a"), ""), 200, "n1 /a ")
	expect(t, send(t, "GET", m.gatewayURL("/b"), ""), 404, noRoute)

	load := "http://localhost:" + m.caddyAdmin + "/load"
	if got := send(t, "POST", load, file("/b"), "Content-Type", "text/apisix"); got.status != 200 {
		t.Fatalf("load: %+v", got)
	}
	expect(t, send(t, "GET", m.gatewayURL("/b"), ""), 200, "n1 /b ")
	expect(t, send(t, "GET", m.gatewayURL("/a"), ""), 404, noRoute)
	got := send(t, "POST", load, "routes: [{id: r, uri: 1}]\n#END", "Content-Type", "text/apisix")
	if got.status != 400 || !strings.Contains(got.body, "routes r, item 1: invalid configuration") {
		t.Errorf("load: %+v", got)
	}
	expect(t, send(t, "GET", m.gatewayURL("/b"), ""), 200, "n1 /b ")

	if out := m.must("adapt", "--config", "apisix.yaml", "--adapter", "apisix"); !strings.Contains(out, `"arr_1"`) {
		t.Errorf("adapt: %s", out)
	}
	m.write("apisix.yaml", "routes: []\n")
	if out := m.mustFail("adapt", "--config", "apisix.yaml", "--adapter", "apisix"); !strings.Contains(out, "missing valid end flag") {
		t.Errorf("adapt: %s", out)
	}
}
