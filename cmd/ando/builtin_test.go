// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestWantsBuiltIn(t *testing.T) {
	for _, c := range []struct {
		args      []string
		caddyfile bool
		want      bool
	}{
		{args: []string{"run"}, want: true},
		{args: []string{"run", "--watch", "--environ"}, want: true},
		{args: []string{"run", "-e", "--pidfile", "/run/ando.pid"}, want: true},
		{args: []string{"run", "--pingback", "127.0.0.1:1"}, want: true},
		{args: []string{"run"}, caddyfile: true},
		{args: []string{"run", "--config", "x"}},
		{args: []string{"run", "--config=x"}},
		{args: []string{"run", "-c", "x"}},
		{args: []string{"run", "-ec", "x"}},
		{args: []string{"run", "--resume"}},
		{args: []string{"run", "-r"}},
		{args: []string{"run", "--adapter", "caddyfile"}},
		{args: []string{"run", "--help"}},
		{args: []string{"reload"}},
		{args: []string{"validate"}},
		{args: nil},
	} {
		exists := func(name string) bool { return c.caddyfile && name == "Caddyfile" }
		if got := wantsBuiltIn(append([]string{"ando"}, c.args...), exists); got != c.want {
			t.Errorf("%v with a Caddyfile %v: got %v", c.args, c.caddyfile, got)
		}
	}
}
