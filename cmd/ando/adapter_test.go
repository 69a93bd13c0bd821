// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
)

func TestAdapterArgs(t *testing.T) {
	for _, c := range []struct {
		args  string
		there bool
		want  string
	}{
		{"ando run", true, "--config Caddyfile --adapter ando"},
		{"ando run", false, ""},
		{"ando reload --config /etc/ando/Caddyfile", false, "--adapter ando"},
		{"ando validate -c site.caddyfile", false, "--adapter ando"},
		{"ando adapt --config=Caddyfile.test --pretty", false, "--adapter ando"},
		{"ando run --config Caddyfile --adapter caddyfile", true, ""},
		{"ando run --config caddy.json", true, ""},
		{"ando run --config apisix.yaml --adapter apisix", true, ""},
		{"ando run --resume", true, ""},
		{"ando fmt Caddyfile", true, ""},
		{"ando", true, ""},
	} {
		got := adapterArgs(strings.Fields(c.args), func(string) bool { return c.there })
		if !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%s: got %q, want %q", c.args, got, c.want)
		}
	}
}
