// SPDX-License-Identifier: Apache-2.0

package table

import (
	"slices"
	"strings"
	"testing"
)

func hostsOf(t *Table) string { return strings.Join(slices.Collect(t.Hosts()), " ") }

func TestHostIndex(t *testing.T) {
	for _, router := range []string{HostURI, URI} {
		t.Run(router, func(t *testing.T) {
			table := compileAll(t, toyCompiler(router),
				`services s {"hosts":["s.test","both.test"]}`,
				`routes 1 {"uri":"/a","hosts":["A.test","both.test","a.test"]}`,
				`routes 2 {"uri":"/b","service_id":"s"}`,
				`routes 3 {"uri":"/c","host":"*.wild.test"}`,
				`routes 4 {"uri":"/d","host":"off.test","status":0}`,
				`routes 5 {"uri":"/e"}`,
			)
			expect := func(table *Table, want string) {
				t.Helper()
				if got := hostsOf(table); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
			expect(table, "*.wild.test a.test both.test s.test")
			for host, want := range map[string][2]bool{
				"a.test": {true, true}, "A.Test.": {true, true}, "off.test": {false, false}, "x.wild.test": {false, true},
				"wild.test": {false, false}, "x.y.wild.test": {false, true}, "": {false, false},
			} {
				if got := [2]bool{table.ServesHost(host, false), table.ServesHost(host, true)}; got != want {
					t.Errorf("%q: got %v, want %v", host, got, want)
				}
			}
			expect(mustChange(t, table, "routes 1"), "*.wild.test both.test s.test")
			expect(mustChange(t, table, "routes 1", "routes 2", "routes 3"), "")
			expect(mustChange(t, table, `services s {"hosts":["t.test"]}`), "*.wild.test a.test both.test t.test")
			expect(mustChange(t, table, `routes 4 {"uri":"/d","host":"off.test"}`), "*.wild.test a.test both.test off.test s.test")
			expect(table, "*.wild.test a.test both.test s.test")
		})
	}
}
