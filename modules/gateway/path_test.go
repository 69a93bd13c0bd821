// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// TestCanonicalPathHostile reads request lines that were made to be read in two ways. "400" stands for a refusal; the
// expected text is the path as it is forwarded.
func TestCanonicalPathHostile(t *testing.T) {
	file, err := os.Open("testdata/paths.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	n := 0
	for lines.Scan() {
		var c struct {
			ID, Raw, Ando, Why string
			Path               string `json:"route_path_expected"`
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		n++
		t.Run(c.ID, func(t *testing.T) {
			line, _, _ := strings.Cut(c.Raw, "\r\n")
			parts := strings.Split(line, " ")
			r := Request{Method: parts[0]}
			err := r.SetTarget(parts[1])
			if c.Path == "400" || c.Ando == "reject-400" {
				if !errors.Is(err, ErrBadTarget) {
					t.Errorf("%s (%s): got path %q and error %v, want a refusal", parts[1], c.Why, r.EscapedPath, err)
				}
				return
			}
			if err != nil || r.EscapedPath != c.Path {
				t.Errorf("%s (%s): got path %q and error %v, want %q", parts[1], c.Why, r.EscapedPath, err, c.Path)
			}
		})
	}
	if err := lines.Err(); err != nil || n < 15 {
		t.Fatalf("read %d cases, error %v", n, err)
	}
}

func TestCanonicalPath(t *testing.T) {
	for _, c := range []struct{ raw, decoded, escaped string }{
		{"/", "/", "/"},
		{"/a/b.c/~d", "/a/b.c/~d", "/a/b.c/~d"},
		{"/..a/...", "/..a/...", "/..a/..."},
		{"/a/./b/../c", "/a/c", "/a/c"},
		{"/a/b/..", "/a/", "/a/"},
		{"/a/.", "/a/", "/a/"},
		{"/..", "/", "/"},
		{"/%2e%2E/%2e/x", "/x", "/x"},
		{"///a////b//", "/a/b/", "/a/b/"},
		{"/%7ea%2Db", "/~a-b", "/~a-b"},
		{"/a%2fb", "/a/b", "/a%2Fb"},
		{"/a%2f", "/a/", "/a%2F"},
		{"/a%2f/b", "/a/b", "/a%2F/b"},
		{"/%2fa", "/a", "/%2Fa"},
		{"/%2f/a", "/a", "/%2F/a"},
		{"/a/%2f%2fb", "/a/b", "/a/%2F%2Fb"},
		{"/a%2f/b/..", "/a/", "/a%2F/"},
		{"/a%5cb", `/a\b`, "/a%5Cb"},
		{"/a%252e%252e/b", "/a%2e%2e/b", "/a%252e%252e/b"},
		{"/a%3fb%23c", "/a?b#c", "/a%3Fb%23c"},
		{"/caf\xc3\xa9", "/caf\u00e9", "/caf%C3%A9"},
		{"/%ff", "/\xff", "/%FF"},
		{"/a%20b+c", "/a b+c", "/a%20b+c"},
		{"/a;x=1/b", "/a;x=1/b", "/a;x=1/b"},
	} {
		decoded, escaped, err := CanonicalPath(c.raw)
		if err != nil || decoded != c.decoded || escaped != c.escaped {
			t.Errorf("%q: got %q and %q (%v), want %q and %q", c.raw, decoded, escaped, err, c.decoded, c.escaped)
		}
	}
	for _, raw := range []string{
		"", "a", "*", "/a b", "/a\tb", "/a\x00b", "/a\x7f", "/a#b", `/a\b`, "/%", "/%4", "/%4x", "/%zz", "/%00", "/a%00b",
		"/a/..%2fb", "/a/%2e%2e%2fb", "/a/.%2fb", "/a/b%2f..", "/a/b%2f..%5cc", `/a/..%5cb`, "/a/%2f..", "/%2f.%2fa",
	} {
		if decoded, escaped, err := CanonicalPath(raw); !errors.Is(err, ErrBadTarget) {
			t.Errorf("%q: got %q and %q (%v), want a refusal", raw, decoded, escaped, err)
		}
	}
}

// FuzzCanonicalPath holds the two spellings against each other, against a second pass, and against the ways in which a
// path leaves the place it was authorized for.
func FuzzCanonicalPath(f *testing.F) {
	for _, seed := range []string{
		"/", "/a/../b", "/a%2F/b", "/%2F/", "//a//%2f%2F./b", "/%2e%2e/%252e", "/a/.%2e/..;/", "/caf\xc3\xa9", "/a%5c%2f",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		decoded, escaped, err := CanonicalPath(raw)
		if err != nil {
			if decoded != "" || escaped != "" {
				t.Fatalf("%q: refused, and yet %q and %q", raw, decoded, escaped)
			}
			return
		}
		if got := mergeSlashes(percentDecode(escaped)); got != decoded {
			t.Fatalf("%q: escaped %q stands for %q, decoded is %q", raw, escaped, got, decoded)
		}
		for _, path := range []string{decoded, escaped} {
			if path[0] != '/' || strings.Contains(path, "//") {
				t.Fatalf("%q: %q is not absolute, or has an empty segment", raw, path)
			}
			for segment := range strings.SplitSeq(path, "/") {
				if segment == "." || segment == ".." {
					t.Fatalf("%q: %q has a dot segment", raw, path)
				}
			}
		}
		for i := range len(escaped) {
			if c := escaped[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == '#' {
				t.Fatalf("%q: %q has a raw %q", raw, escaped, c)
			}
		}
		if d, e, err := CanonicalPath(escaped); err != nil || d != decoded || e != escaped {
			t.Fatalf("%q: a second pass makes %q and %q of %q and %q (%v)", raw, d, e, decoded, escaped, err)
		}
	})
}

func percentDecode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
		i += 2
	}
	return b.String()
}

func mergeSlashes(s string) string {
	for strings.Contains(s, "//") {
		s = strings.ReplaceAll(s, "//", "/")
	}
	return s
}

func TestCanonicalPathAllocs(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { _, _, _ = CanonicalPath("/api/v1/users/7.json") }); n != 0 {
		t.Errorf("a canonical path costs %v allocations, want 0", n)
	}
}

func BenchmarkCanonicalPath(b *testing.B) {
	for name, path := range map[string]string{"canonical": "/api/v1/users/7.json", "rewritten": "/api/./v1/%75sers/../x"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = CanonicalPath(path)
			}
		})
	}
}
