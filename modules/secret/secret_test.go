// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const (
	oldKey   = "0123456789abcdef"
	firstKey = "0123456789abcdef0123456789ABCDEF"
)

func ring(t testing.TB, keys ...string) *Keyring {
	t.Helper()
	k, err := New(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// The ciphertexts were made with `openssl enc -aes-128-cbc -K HEX -iv HEX -a`, which is what APISIX's library does.
func TestForm(t *testing.T) {
	for _, c := range []struct{ key, plain, stored string }{
		{oldKey, "bar", "gKbOpqa+iLd5AKSDrXyalg=="},
		{firstKey, "bar", "u/C7m+i2EzqgmQhT5NYUMA=="},
		{firstKey, "sixteen bytes ..", "snUIhAKMXF8lrrfjWpUrObsfeoDCFooFYDztm4Lq+vI="},
		{wellKnown[0], "foo", "hqmvNy8uwuegzFLC8dCuOA=="},
	} {
		k := ring(t, firstKey, oldKey)
		if got := k.Decrypt(c.stored); got != c.plain {
			t.Errorf("decrypt %s: got %q, want %q", c.stored, got, c.plain)
		}
		if c.key == wellKnown[0] {
			continue
		}
		if got := ring(t, c.key).Encrypt(c.plain); got != c.stored {
			t.Errorf("encrypt %q: got %s, want %s", c.plain, got, c.stored)
		}
	}
}

func TestKeys(t *testing.T) {
	for _, keys := range [][]string{nil, {""}, {"short"}, {firstKey, "short"}, {wellKnown[0]}, {wellKnown[1], firstKey}} {
		if _, err := New(keys...); err == nil {
			t.Errorf("%q is taken", keys)
		}
	}
	// What one key has encrypted is read after another has come before it, and not without it.
	stored := ring(t, oldKey).Encrypt("secret")
	if got := ring(t, firstKey, oldKey).Decrypt(stored); got != "secret" {
		t.Errorf("after a new key: got %q", got)
	}
	if got := ring(t, firstKey).Decrypt(stored); got != stored {
		t.Errorf("without the key: got %q", got)
	}
}

func TestPlainTextsStay(t *testing.T) {
	k := Generate()
	for _, plain := range []string{
		"", "bar", "not base64 at all, and long enough for a block", "$secret://vault/1/jack/key", "$env://KEY", "$ENV://KEY",
		base64.StdEncoding.EncodeToString([]byte("0123456789abcdef")), base64.StdEncoding.EncodeToString(make([]byte, 32)),
	} {
		if got := k.Decrypt(plain); got != plain {
			t.Errorf("decrypt %q: got %q", plain, got)
		}
	}
	for _, kept := range []string{"", "$secret://vault/1/jack/key", "$env://KEY", "$Env://KEY"} {
		if got := k.Encrypt(kept); got != kept {
			t.Errorf("encrypt %q: got %q", kept, got)
		}
	}
	var none *Keyring
	if got := none.Decrypt(none.Encrypt("bar")); got != "bar" {
		t.Errorf("no keyring: got %q", got)
	}
}

func FuzzRoundTrip(f *testing.F) {
	k := ring(f, firstKey)
	for _, text := range []string{"a", "\x01", "sixteen bytes ..", "naïve", "\"\\\n", strings.Repeat("x", 1000)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "?")
		stored := k.Encrypt(text)
		if got := k.Decrypt(stored); got != text {
			t.Errorf("%q became %q", text, got)
		}
		if text != "" && !IsReference(text) && stored == text {
			t.Errorf("%q is stored as it is", text)
		}
	})
}

func TestFields(t *testing.T) {
	k := ring(t, firstKey)
	paths := Paths([]string{"key", "auth.password", "brokers.sasl.password", "headers", "list"})
	const doc = `{ "key":"a<b", "other":"a", "n":1.50, "auth":{"password":"é","user":"u"},` +
		`"brokers":[{"sasl":{"password":"p1"}},{"sasl":{}},7],"headers":{"A":"1","B":{"C":["2",3]}},"list":["x","$env://Y"],"password":"no" }`
	stored := k.EncryptFields([]byte(doc), paths...)
	e := k.Encrypt
	want := `{ "key":"` + e("a<b") + `", "other":"a", "n":1.50, "auth":{"password":"` + e("é") + `","user":"u"},` +
		`"brokers":[{"sasl":{"password":"` + e("p1") + `"}},{"sasl":{}},7],"headers":{"A":"` + e("1") + `","B":{"C":["` + e("2") +
		`",3]}},"list":["` + e("x") + `","$env://Y"],"password":"no" }`
	if string(stored) != want {
		t.Errorf("got  %s\nwant %s", stored, want)
	}
	if got := k.DecryptFields(stored, paths...); string(got) != doc {
		t.Errorf("decrypted: got %s", got)
	}
	for _, doc := range []string{``, `{`, `{"key":`, `1`, `"a"`, `{"key":1}`, `[]`} {
		if got := k.EncryptFields([]byte(doc), paths...); string(got) != doc {
			t.Errorf("%s became %s", doc, got)
		}
	}
	if got := (*Keyring)(nil).EncryptFields([]byte(doc), paths...); string(got) != doc {
		t.Errorf("no keyring: got %s", got)
	}
}

func FuzzFields(f *testing.F) {
	k := ring(f, firstKey)
	paths := []Path{{"a"}, {"b", "c"}}
	f.Add([]byte(`{"a":"x","b":[{"c":{"d":"y"}},{"c":"\u0041"}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		stored := k.EncryptFields(doc, paths...)
		if json.Valid(doc) != json.Valid(stored) {
			t.Fatalf("%s became %s", doc, stored)
		}
		back := k.DecryptFields(stored, paths...)
		var want, got any
		if json.Unmarshal(doc, &want) == nil && (json.Unmarshal(back, &got) != nil || !equal(want, got)) {
			t.Errorf("%s became %s", doc, back)
		}
	})
}

func equal(a, b any) bool {
	one, _ := json.Marshal(a)
	two, _ := json.Marshal(b)
	return string(one) == string(two)
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "ando.db.key")
	k, made, err := Open(path)
	if err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if stat.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", stat.Mode())
	}
	stored := k.Encrypt("secret")
	again, made, err := Open(path)
	if err != nil || made || again.Decrypt(stored) != "secret" {
		t.Errorf("opened again: made %v, %v, got %q", made, err, again.Decrypt(stored))
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files, %v", len(entries), err)
	}
	// A new key in front, as its owner puts it there.
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(oldKey+"\r\n\n"+string(raw)), 0o600); err != nil {
		t.Fatal(err)
	}
	rotated, _, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if rotated.Decrypt(stored) != "secret" || rotated.Encrypt("secret") == stored {
		t.Errorf("rotated: got %q and %q", rotated.Decrypt(stored), rotated.Encrypt("secret"))
	}
	for _, text := range []string{"", "short\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestOpenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	texts := make([]string, 8)
	var wg sync.WaitGroup
	for i := range texts {
		wg.Go(func() {
			k, _, err := Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			texts[i] = k.Encrypt("secret")
		})
	}
	wg.Wait()
	for _, text := range texts[1:] {
		if text != texts[0] {
			t.Errorf("two keys: %q", texts)
		}
	}
}

func BenchmarkDecryptFields(b *testing.B) {
	k := Generate()
	path := Path{"key"}
	doc := k.EncryptFields([]byte(`{"key":"0123456789abcdef0123456789abcdef"}`), path)
	b.ReportAllocs()
	for b.Loop() {
		k.DecryptFields(doc, path)
	}
}
