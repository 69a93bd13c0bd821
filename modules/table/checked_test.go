// SPDX-License-Identifier: Apache-2.0

package table

import (
	"slices"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// checkedKeys lists which objects have their nodes checked.
func checkedKeys(t *Table) (keys []string) {
	for u := range t.Checked() {
		keys = append(keys, u.Key)
	}
	return keys
}

func TestChecked(t *testing.T) {
	const inline = `"upstream":{"nodes":{"127.0.0.1:80":1},"checks":{"active":{}}}`
	table := compileAll(t, toyCompiler(HostURI),
		`upstreams u {"nodes":{"127.0.0.1:80":1},"checks":{"active":{}}}`,
		`upstreams plain {"nodes":{"127.0.0.1:80":1}}`,
		`upstreams empty {"nodes":{},"checks":{"active":{}}}`,
		`services s {`+inline+`}`,
		`routes one {"uri":"/one","service_id":"s"}`,
		`routes two {"uri":"/two","service_id":"s"}`,
		`routes three {"uri":"/three","upstream_id":"u"}`,
		`routes four {"uri":"/four",`+inline+`}`,
		`routes off {"uri":"/off","status":0,`+inline+`}`,
	)
	expect := func(want ...string) {
		t.Helper()
		if got := checkedKeys(table); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	expect("/apisix/routes/four", "/apisix/services/s", "/apisix/upstreams/u")
	if table.ChecksAsIn(nil) || !table.ChecksAsIn(table) {
		t.Error("a table is told from another by what it is not")
	}

	before := table
	table = mustChange(t, before, `routes one {"uri":"/one","service_id":"s","name":"n"}`)
	if !table.ChecksAsIn(before) {
		t.Error("a change elsewhere is one of the checks")
	}
	table = mustChange(t, before, `routes four {"uri":"/four",`+inline+`,"name":"n"}`)
	if !table.ChecksAsIn(before) {
		t.Error("a route's name is part of its upstream")
	}
	table = mustChange(t, before, `upstreams u {"nodes":{"127.0.0.1:80":1,"127.0.0.1:81":1},"checks":{"active":{}}}`)
	if table.ChecksAsIn(before) || len(table.Upstream("u").Nodes) != 2 {
		t.Error("a new node is not noticed")
	}
	expect("/apisix/routes/four", "/apisix/services/s", "/apisix/upstreams/u")
	table = mustChange(t, table, `upstreams u {"nodes":{"127.0.0.1:80":1}}`)
	expect("/apisix/routes/four", "/apisix/services/s")
	table = mustChange(t, table, `routes four {"uri":"/four","service_id":"s"}`)
	expect("/apisix/services/s")
	table = mustChange(t, table, `routes off {"uri":"/off",`+inline+`}`)
	expect("/apisix/routes/off", "/apisix/services/s")
	next, err := table.With([]gateway.Change{{Object: gateway.Object{Kind: gateway.Routes, ID: "off"}, Delete: true}})
	if err != nil {
		t.Fatal(err)
	}
	table = next.(*Table)
	expect("/apisix/services/s")
	if got := checkedKeys(before); len(got) != 3 {
		t.Errorf("the table before has %v now", got)
	}
}
