// SPDX-License-Identifier: Apache-2.0

package jwedecrypt

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{Text: `{"header":"a","forward_header":"b"}`},
		{Text: `{"header":"a"}`, Want: `property "forward_header" is required`},
		{Text: `{"header":"a","forward_header":"b c"}`, Want: `property "forward_header" validation failed: "b c"`},
	})
}

const key = "an AES key of two and thirty b.."

func encode(b string) string { return base64.RawURLEncoding.EncodeToString([]byte(b)) }

// seal makes a token. With authenticate the header is part of what the tag is for.
func seal(t testing.TB, key, header, text string, authenticate bool) string {
	t.Helper()
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce, protected := "123456789012", encode(header)
	var data []byte
	if authenticate {
		data = []byte(protected)
	}
	sealed := string(aead.Seal(nil, []byte(nonce), []byte(text), data))
	n := len(sealed) - tagSize
	return protected + ".." + encode(nonce) + "." + encode(sealed[:n]) + "." + encode(sealed[n:])
}

func TestOpen(t *testing.T) {
	const header = `{"alg":"dir","enc":"A256GCM","kid":"k"}`
	compiled := func(config string) *credential {
		_, c, err := compileCredential(gateway.Env{}, json.RawMessage(config))
		if err != nil {
			t.Fatal(err)
		}
		return c.(*credential)
	}
	plain := compiled(`{"key":"k","secret":"` + key + `"}`)
	for what, c := range map[string]struct {
		credential *credential
		token      string
		want       bool
	}{
		"APISIX's":        {plain, seal(t, key, header, "hello", false), true},
		"RFC 7516":        {plain, seal(t, key, header, "hello", true), true},
		"base64":          {compiled(`{"key":"k","secret":"` + base64.StdEncoding.EncodeToString([]byte(key)) + `","is_base64_encoded":true}`), seal(t, key, header, "hello", true), true},
		"another key":     {plain, seal(t, strings.ToUpper(key), header, "hello", true), false},
		"short":           {compiled(`{"key":"k","secret":"short"}`), seal(t, key, header, "hello", true), false},
		"not base64":      {compiled(`{"key":"k","secret":"!","is_base64_encoded":true}`), seal(t, key, header, "hello", true), false},
		"a reference":     {compiled(`{"key":"k","secret":"$secret://vault/1/a-name-of-32-b"}`), seal(t, "$secret://vault/1/a-name-of-32-b", header, "hello", true), false},
		"another header":  {plain, encode(`{"alg":"dir","enc":"A256GCM","kid":"k" }`) + strings.TrimPrefix(seal(t, key, header, "hello", true), encode(header)), false},
		"ciphertext cut":  {plain, strings.Replace(seal(t, key, header, "hello", true), "."+encode("123456789012")+".", "."+encode("123456789012")+".AAAA", 1), false},
		"another nonce":   {plain, strings.Replace(seal(t, key, header, "hello", true), encode("123456789012"), encode("123456789013"), 1), false},
		"empty plaintext": {plain, seal(t, key, header, "", true), true},
	} {
		parsed, err := parse(c.token)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if text, ok := c.credential.open(&parsed); ok != c.want || ok && text != "hello" && what != "empty plaintext" {
			t.Errorf("%s: got %q, %v", what, text, ok)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := seal(t, key, `{"alg":"dir","enc":"A256GCM","kid":"k"}`, "x", true)
	if _, err := parse(good); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"", ".", "....", good + ".", good + "=", strings.Replace(good, "..", ".AA.", 1), strings.TrimSuffix(good, good[strings.LastIndexByte(good, '.'):]),
		seal(t, key, `{"alg":"none","enc":"A256GCM","kid":"k"}`, "x", true),
		seal(t, key, `{"alg":"RSA-OAEP","enc":"A256GCM","kid":"k"}`, "x", true),
		seal(t, key, `{"alg":"dir","enc":"A128GCM","kid":"k"}`, "x", true),
		seal(t, key, `{"alg":"dir","enc":"A256GCM","zip":"DEF","kid":"k"}`, "x", true),
		seal(t, key, `{"alg":"dir","enc":"A256GCM","crit":["exp"],"kid":"k"}`, "x", true),
		seal(t, key, `{"alg":"dir","enc":"A256GCM","kid":1}`, "x", true),
		seal(t, key, `[]`, "x", true),
		seal(t, key, `{}`, "x", true),
	} {
		if _, err := parse(text); err == nil {
			t.Errorf("%q is taken for a token", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(seal(f, key, `{"alg":"dir","enc":"A256GCM","kid":"k"}`, "x", true))
	f.Add("....")
	f.Fuzz(func(t *testing.T, text string) {
		if parsed, err := parse(text); err == nil && (len(parsed.nonce) != nonceSize || len(parsed.sealed) < tagSize) {
			t.Errorf("%q: got %+v", text, parsed)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	_, c, err := compileCredential(gateway.Env{}, json.RawMessage(`{"key":"k","secret":"`+key+`"}`))
	if err != nil {
		b.Fatal(err)
	}
	text := seal(b, key, `{"alg":"dir","enc":"A256GCM","kid":"k"}`, "hello", true)
	b.ReportAllocs()
	for b.Loop() {
		parsed, err := parse(text)
		if err != nil {
			b.Fatal(err)
		}
		if _, ok := c.(*credential).open(&parsed); !ok {
			b.Fatal("not decrypted")
		}
	}
}
