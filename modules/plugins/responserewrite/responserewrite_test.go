// SPDX-License-Identifier: Apache-2.0

package responserewrite

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

// check is what becomes of a config on its way in: the schema first, then New.
func check(t *testing.T, text string) error {
	t.Helper()
	value, err := schema.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	rules := schema.ForPlugin(gateway.RegisteredPlugins()["response-rewrite"]).Config
	if err := rules.Validate(value); err != nil {
		return err
	}
	filled, err := json.Marshal(rules.Fill(value))
	if err != nil {
		t.Fatal(err)
	}
	_, err = compile(gateway.Env{Log: zap.NewNop}, filled)
	return err
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{`{}`, ""},
		{`{"body":"ok","status_code":201}`, ""},
		{`{"headers":{"X":"1","Y":2}}`, ""},
		{`{"headers":{"add":["A: b"],"set":{"C":"d"},"remove":["E"]}}`, ""},
		{`{"body":"YQ","body_base64":true}`, ""},
		{`{"vars":[["status","==",200]],"body":"x"}`, ""},
		{`{"filters":[{"regex":"(?<=a)b","replace":"c","options":"xmsi"}]}`, ""},
		{`{"status_code":199}`, `property "status_code" validation failed: expected 199 to be at least 200`},
		{`{"status_code":599}`, `property "status_code" validation failed: expected 599 to be at most 598`},
		{`{"headers":{"add":["bad"]}}`, `property "headers" validation failed: object matches none of the required`},
		{`{"filters":[]}`, `property "filters" validation failed: expect array to have at least 1 items`},
		{`{"body":"x","filters":[{"regex":"a","replace":"b"}]}`, `failed to validate dependent schema for "`},
		{`{"vars":[["status","bad",200]]}`, `failed to validate the 'vars' expression: invalid operator 'bad'`},
		{`{"body":"%","body_base64":true}`, `invalid base64 content`},
		{`{"body":"","body_base64":true}`, `invalid base64 content`},
		{`{"body_base64":true}`, `invalid base64 content`},
		{`{"filters":[{"regex":"(","replace":""}]}`, `regex "(" validation failed: `},
		{`{"filters":[{"regex":"a","replace":"","options":"k"}]}`, `regex "a" validation failed: unknown flag "k" (flags "k")`},
		{`{"headers":{"a b":"1"}}`, `invalid header name "a b"`},
		{`{"max_resp_body_size":0}`, `property "max_resp_body_size" validation failed: expected 0 to be at least 1`},
	} {
		got := ""
		if err := check(t, c.config); err != nil {
			got = err.Error()
		}
		if got != c.want && (c.want == "" || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: got %q, want %q", c.config, got, c.want)
		}
	}
}

func TestFilter(t *testing.T) {
	for _, c := range []struct{ pattern, options, replace, body, once, global string }{
		{"a", "jo", "b", "aaa", "baa", "bbb"},
		{"x", "jo", "b", "aaa", "aaa", "aaa"},
		{"A", "ijo", "b", "aaa", "baa", "bbb"},
		{"^a", "jo", "b", "a\na", "b\na", "b\na"},
		{"^a", "m", "b", "a\na", "b\na", "b\nb"},
		{"a.a", "s", "b", "a\na", "b", "b"},
		{"a.a", "", "b", "a\na", "a\na", "a\na"},
		{"a b # c", "x", "-", "abab", "-ab", "--"},
		{"a", "a", "b", "xa", "xa", "xa"},
		{"a$", "", "b", "a\n", "b\n", "b\n"},
		{`a\z`, "", "b", "a\n", "a\n", "a\n"},
		{"(?<n>a)(b)", "", "$2$1", "ab ab", "ba ab", "ba ba"},
		{"(a)|(b)", "", "[$1$2]", "ab", "[a]b", "[a][b]"},
		{"(a)(?=b)|(b)", "", "[$1$2]", "ab", "[a]b", "[a][b]"},
		{"a", "", "$$1 ${0}0 $ $x ${", "a", "$1 a0 $ $x ${", "$1 a0 $ $x ${"},
		{"é(?!x)", "", "e", "\xffé\xfe", "\xffe\xfe", "\xffe\xfe"},
		{"", "", "-", "ab", "-ab", "-a-b-"},
	} {
		for scope, want := range map[bool]string{false: c.once, true: c.global} {
			f, err := compileFilter(c.pattern, c.options, c.replace, scope)
			if err != nil {
				t.Errorf("%q: %v", c.pattern, err)
				continue
			}
			body := []byte(c.body)
			got, err := f.apply(body)
			if err != nil || string(got) != want {
				t.Errorf("%q (%s, global %v) on %q: got %q (%v), want %q", c.pattern, c.options, scope, c.body, got, err, want)
			}
			if string(body) != c.body {
				t.Errorf("%q: the body was changed in place to %q", c.pattern, body)
			}
		}
	}
}

// TestCatastrophe has a pattern that a backtracking engine could work on for ever: the body passes instead.
func TestCatastrophe(t *testing.T) {
	f, err := compileFilter(`(?:a|aa)+(?=b)`, "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(strings.Repeat("a", 5000) + "!")
	if got, err := f.apply(body); err == nil || !bytes.Equal(got, body) {
		t.Errorf("got %d bytes and error %v, want the body and an error", len(got), err)
	}
}

func TestWarnsOnce(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	log := zap.New(core)
	instance, err := compile(gateway.Env{Log: func() *zap.Logger { return log }},
		json.RawMessage(`{"max_resp_body_size":10,"filters":[{"regex":"a","replace":"b"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r, _ := instance.(*rewrite)
	for range 2 {
		var h gateway.Header
		h.Add("Content-Encoding", "br")
		if r.begin(&h) != nil {
			t.Error("brotli: the body is filtered, want it to pass")
		}
		h.Reset()
		h.Add("Content-Length", "11")
		if r.begin(&h) != nil {
			t.Error("a long body is filtered, want it to pass")
		}
	}
	if logs.Len() != 2 {
		t.Errorf("got %d log entries, want one of each kind", logs.Len())
	}
}

func TestGunzipBound(t *testing.T) {
	if _, err := gunzip(compress(t, strings.Repeat("a", 100)), 100); err != nil {
		t.Errorf("100 bytes: %v", err)
	}
	if _, err := gunzip(compress(t, strings.Repeat("a", 1<<20)), 100); err != errTooLong {
		t.Errorf("a body that grows beyond the bound: got error %v, want %v", err, errTooLong)
	}
}

func BenchmarkFilter(b *testing.B) {
	body := []byte(strings.Repeat("the quick brown fox jumps over the lazy dog\n", 400))
	for name, pattern := range map[string]string{"RE2": `la[a-z]y`, "backtracking": `la[a-z](?=y)`} {
		b.Run(name, func(b *testing.B) {
			f, err := compileFilter(pattern, "jo", "energetic", true)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.apply(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func compress(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
