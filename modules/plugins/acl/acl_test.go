// SPDX-License-Identifier: Apache-2.0

package acl

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/auth"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, "acl", []plugintest.Config{
		{Text: `{"allow_labels":{"a":["b"]}}`},
		{Text: `{"deny_labels":{"a":["b"]},"external_user_label_field":"$..a['b'][0].*"}`},
		{Text: `{}`, Want: `object matches none of the required`},
		{Text: `{"allow_labels":{}}`, Want: `property "allow_labels" validation failed: `},
		{Text: `{"allow_labels":{"a":[]}}`, Want: `property "allow_labels" validation failed: `},
		{Text: `{"allow_labels":{"a":["b"]},"rejected_code":1000}`, Want: `property "rejected_code" validation failed: expected 1000`},
		{Text: `{"allow_labels":{"a":["b"]},"external_user_label_field":"$.a["}`, Want: `property "external_user_label_field" validation failed: "$.a["`},
		{Text: `{"allow_labels":{"a":["b"]},"external_user_label_field":"$"}`, Want: `property "external_user_label_field" validation failed: "$"`},
		{
			Text: `{"allow_labels":{"a":["b"]},"external_user_label_field_parser":"segmented_text","external_user_label_field_separator":"("}`,
			Want: `property "external_user_label_field_separator" validation failed: error parsing regexp`,
		},
	})
}

// TestExternalUser: somebody without a consumer is known by what their identity provider tells.
func TestExternalUser(t *testing.T) {
	for _, c := range []struct {
		config, user string
		want         bool
	}{
		{`{"allow_labels":{"groups":["ops"]}}`, `{"groups":["dev","ops"]}`, true},
		{`{"allow_labels":{"groups":["ops"]}}`, `{"groups":["dev"]}`, false},
		{`{"allow_labels":{"groups":["ops"]}}`, `{"groups":"dev , ops"}`, true},
		{`{"allow_labels":{"groups":["ops"]}}`, `{"groups":"[\"ops\"]"}`, true},
		{`{"allow_labels":{"groups":["ops"]}}`, `{"groups":"ops"}`, true},
		{`{"allow_labels":{"groups":["ops"]}}`, `{"groups":7}`, false},
		{`{"allow_labels":{"groups":["ops"]}}`, `{}`, false},
		{`{"allow_labels":{"groups":["ops"]}}`, `not JSON`, false},
		{`{"allow_labels":{"other":["ops"]}}`, `{"groups":["ops"]}`, false},
		{`{"deny_labels":{"groups":["ops"]}}`, `{"groups":["ops"]}`, false},
		{`{"deny_labels":{"groups":["ops"]}}`, `{"groups":["dev"]}`, true},
		{`{"deny_labels":{"groups":["ops"]}}`, `not JSON`, false},
		{`{"allow_labels":{"groups":["dev"]},"deny_labels":{"groups":["ops"]}}`, `{"groups":["dev","ops"]}`, false},
		{`{"allow_labels":{"team":["ops"]},"external_user_label_field":"$.a.b[1].c","external_user_label_field_key":"team"}`, `{"a":{"b":[0,{"c":["ops"]}]}}`, true},
		{`{"allow_labels":{"team":["ops"]},"external_user_label_field":"$..c","external_user_label_field_key":"team"}`, `{"a":{"b":[0,{"c":"ops"}]}}`, true},
		{`{"allow_labels":{"$..c":["ops"]},"external_user_label_field":"$..c"}`, `{"c":["ops"]}`, true},
		{`{"allow_labels":{"groups":["ops"]},"external_user_label_field_parser":"table"}`, `{"groups":"ops"}`, false},
		{`{"allow_labels":{"groups":["ops"]},"external_user_label_field_parser":"json"}`, `{"groups":["ops"]}`, false},
		{`{"allow_labels":{"groups":["ops"]},"external_user_label_field_parser":"json"}`, `{"groups":"[\"ops\"]"}`, true},
		{`{"allow_labels":{"groups":["ops"]},"external_user_label_field_parser":"segmented_text","external_user_label_field_separator":"\\||;"}`, `{"groups":"dev | ops;x"}`, true},
		{`{"allow_labels":{"groups":["ops"]},"external_user_label_field_parser":"segmented_text","external_user_label_field_separator":";"}`, `{"groups":["ops"]}`, false},
	} {
		a, err := plugintest.Compile(t, "acl", c.config)
		if err != nil {
			t.Fatal(err)
		}
		x := new(gateway.Exchange)
		auth.SetExternalUser(x, c.user)
		if got := a.(*acl).Access(x) == gateway.Continue; got != c.want {
			t.Errorf("%s: %s: got %v", c.config, c.user, got)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	f.Add("$..a['b'][0].*", `{"a":{"b":[{"c":1}]}}`)
	f.Add("groups", `{"groups":[]}`)
	f.Fuzz(func(_ *testing.T, text, document string) {
		p, err := parsePath(text)
		var root any
		if err == nil && len(p) < 8 && len(document) < 1000 && json.Unmarshal([]byte(document), &root) == nil {
			p.first(root)
		}
	})
}

func known(tb testing.TB) (*acl, *gateway.Exchange) {
	tb.Helper()
	a, err := plugintest.Compile(tb, "acl", `{"allow_labels":{"team":["ops","dev"]},"deny_labels":{"role":["guest"]}}`)
	if err != nil {
		tb.Fatal(err)
	}
	return a.(*acl), &gateway.Exchange{Consumer: &gateway.Consumer{Labels: map[string]string{"team": "qa, dev", "role": "admin"}}}
}

func TestAllocs(t *testing.T) {
	a, x := known(t)
	if n := testing.AllocsPerRun(100, func() {
		if a.Access(x) != gateway.Continue {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkAccess(b *testing.B) {
	a, x := known(b)
	b.ReportAllocs()
	for b.Loop() {
		a.Access(x)
	}
}
