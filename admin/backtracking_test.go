// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/http"
	"testing"
)

// TestBacktracking: the answer to a write says which patterns are not for RE2.
func TestBacktracking(t *testing.T) {
	a := newAPI(t)
	for _, c := range []struct{ name, body, want string }{
		{"none", `{"uri":"/a","plugins":{"uri-blocker":{"block_rules":["^/x.+$","a+b*"]}}}`, ""},
		{"lookahead", `{"uri":"/a","plugins":{"uri-blocker":{"block_rules":["^/x","^(?!/public)"]}}}`, "/plugins/uri-blocker/block_rules/1"},
		{"reference", `{"uri":"/a","plugins":{},"vars":[["arg_a","~~","(a)\\1"]]}`, "/vars/0/2"},
		{"possessive", `{"uri":"/a","plugins":{},"vars":[["arg_a","~~","a++b"],["arg_b","~~","(?>a)"]]}`, "/vars/0/2, /vars/1/2"},
		{"no pattern", `{"uri":"/a","plugins":{},"desc":"c++ is (?= not a pattern"}`, ""},
		{"an escaped name", `{"uri":"/a","plugins":{},"labels":{"a/b~c":"(?=x)"}}`, "/labels/a~1b~0c"},
	} {
		r := a.call(http.MethodPut, prefix+"/routes/1", c.body)
		if r.Code != http.StatusCreated && r.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", c.name, r.Code, r.Body)
		}
		if got := r.Header().Get(backtrackingField); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	r := a.call(http.MethodPatch, prefix+"/routes/1", `{"vars":[["arg_a","~~","(?<!b)a"]]}`)
	if got := r.Header().Get(backtrackingField); got != "/labels/a~1b~0c, /vars/0/2" {
		t.Errorf("a patch: %q, %s", got, r.Body)
	}
}
