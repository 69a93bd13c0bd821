// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestFiltersArePCRE(t *testing.T) {
	a := newAPI(t)
	for i, name := range []string{"foo", "bar", "foofoo", strings.Repeat("a", 64)} {
		a.put(fmt.Sprintf("/services/%d", i), `{"name":"`+name+`"}`)
	}
	for _, c := range []struct {
		name  string
		total string
	}{
		{"^fo", "2"},
		{"^foo(?!foo)", "1"},
		{`^(foo)\1$`, "1"},
		{"(?<=b)ar", "1"},
		{"(", "0"},
		{`(?=`, "0"},
		// It cannot be decided in time, so it does not match; nobody waits for it.
		{`^(a|aa)+(?!a)$\1b`, "0"},
	} {
		w := a.call("GET", prefix+"/services?name="+url.QueryEscape(c.name), "")
		if got := string(lookup(w.Body.Bytes(), "total")); got != c.total {
			t.Errorf("%s: got %s, want %s", c.name, w.Body, c.total)
		}
	}
}

// A pattern that has used up its time does not get it again for the next object.
func TestSlowPatternsShareTheirTime(t *testing.T) {
	const text = `^(a|aa)+(?=b)`
	p, ok := compilePattern(text)
	if !ok {
		t.Fatal("not a pattern")
	}
	hard := strings.Repeat("a", 100)
	for range 100 {
		if p.search(hard) {
			t.Fatal("it matches")
		}
	}
	if p.search("ab") {
		t.Error("after its time it still looks")
	}
	if fresh, _ := compilePattern(text); !fresh.search("ab") {
		t.Error("a pattern in time does not match")
	}
}
