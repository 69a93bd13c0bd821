// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseReference(t *testing.T) {
	for text, want := range map[string]Reference{
		"$env://NAME":                     {Name: "NAME"},
		"$ENV://NAME/a/b":                 {Name: "NAME", Member: "a/b"},
		"$secret://vault/1/jack/key":      {Manager: "vault", ID: "1", Name: "jack", Member: "key"},
		"$secret://vault/1/a/b/key":       {Manager: "vault", ID: "1", Name: "a/b", Member: "key"},
		"$secret://aws/1/jack":            {Manager: "aws", ID: "1", Name: "jack"},
		"$secret://aws/prod/jack/key/key": {Manager: "aws", ID: "prod", Name: "jack", Member: "key/key"},
		"$secret://gcp/1/jack/key":        {Manager: "gcp", ID: "1", Name: "jack", Member: "key"},
	} {
		if got, err := ParseReference(text); err != nil || got != want {
			t.Errorf("%s: got %+v (%v), want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"$env://", "$secret://", "$secret://vault", "$secret://vault/1", "$secret://vault/1/", "$secret://vault/1/jack",
		"$secret://vault//jack/key", "$secret://aws/1//key", "$secret://azure/1/jack/key",
	} {
		if got, err := ParseReference(text); err == nil || !strings.HasPrefix(err.Error(), text+": ") {
			t.Errorf("%s: got %+v (%v), want an error that names it", text, got, err)
		}
	}
}

func TestReferences(t *testing.T) {
	for doc, want := range map[string][]string{
		`{}`:                   nil,
		`{"a":"b","c":"$uri"}`: nil,
		`{"a":"$env://A","b":[{"c":"$secret://vault/1/a/b"},"$env://A",7]}`: {"$env://A", "$secret://vault/1/a/b"},
		`{"a":"\u0024env://A","b":"$env:\/\/B","c":"x$env://C"}`:            {"$env://A", "$env://B"},
		`{"$env://A":"b"}`: nil,
	} {
		if got := References(json.RawMessage(doc)); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", doc, got, want)
		}
	}
}

func TestSubstituteEnvironment(t *testing.T) {
	t.Setenv("ANDO_TEST_TEXT", `it's "quoted"`)
	t.Setenv("ANDO_TEST_OBJECT", `{"key":"inside","n":7,"deep":{}}`)
	doc := `{"a":"$env://ANDO_TEST_TEXT","b":["$env://ANDO_TEST_OBJECT/key","$ENV://ANDO_TEST_OBJECT/n"],"c":"$env://ANDO_TEST_NONE",` +
		`"d":"$env://ANDO_TEST_OBJECT/deep","e":"$env://ANDO_TEST_TEXT/key","f":"$uri"}`
	for _, r := range []*Resolver{nil, new(Resolver)} {
		resolved, unknown := r.Substitute(json.RawMessage(doc))
		var got, want any
		if err := json.Unmarshal(resolved, &got); err != nil {
			t.Fatal(err)
		}
		_ = json.Unmarshal([]byte(`{"a":"it's \"quoted\"","b":["inside","7"],"c":"$env://ANDO_TEST_NONE",`+
			`"d":"$env://ANDO_TEST_OBJECT/deep","e":"$env://ANDO_TEST_TEXT/key","f":"$uri"}`), &want)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %s", resolved)
		}
		if want := []string{"$env://ANDO_TEST_NONE", "$env://ANDO_TEST_OBJECT/deep", "$env://ANDO_TEST_TEXT/key"}; !slices.Equal(unknown, want) {
			t.Errorf("unknown: got %q, want %q", unknown, want)
		}
	}
}
