// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"slices"
	"testing"
)

func TestDelCookie(t *testing.T) {
	for _, c := range []struct{ fields, want []string }{
		{nil, nil},
		{[]string{"a=1"}, []string{"a=1"}},
		{[]string{"c=1"}, nil},
		{[]string{"c=1; a=2"}, []string{"a=2"}},
		{[]string{"a=2; c=1"}, []string{"a=2"}},
		{[]string{"a=2;c=1;b=3"}, []string{"a=2;b=3"}},
		{[]string{"c=1; a=2; c=3", "c=4", "C=5; c"}, []string{"a=2", "C=5; c"}},
	} {
		r := new(Request)
		for _, f := range c.fields {
			r.Header.Add("cookie", f)
		}
		r.DelCookie("c")
		if got := slices.Collect(r.Header.Values("Cookie")); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.fields, got, c.want)
		}
	}
}
