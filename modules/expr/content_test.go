// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"errors"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

const jsonRequest = `POST /chat HTTP/1.1
Content-Type: application/json; charset=utf-8

{"model":"m-1","n":5,"price":1.50,"on":true,"off":false,"none":null,"a.b":"dotted",
 "nested":{"deep":{"x":"y"}},"tags":["red","blue",3],"empty":[],
 "messages":[{"role":"system","content":[{"type":"text"}]},
             {"role":"user","content":[{"type":"text"},{"type":"image_url"}]}]}`

func TestPostArgs(t *testing.T) {
	form := newExchange(t, "POST / HTTP/1.1\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\n\n"+
		"name=a+b&name=2&x.y=%41&empty")
	wantVar(t, form, "post_arg_name", "a b")
	wantVar(t, form, "post_arg.name", "a b")
	wantVar(t, form, "post_arg.x.y", "A")
	wantVar(t, form, "post_arg_empty", "")
	wantVar(t, form, "post_arg_no", "absent")
	wantVar(t, form, "post_arg.no", "absent")

	parts := newExchange(t, "POST / HTTP/1.1\nContent-Type: multipart/form-data; boundary=\"b b\"\n\n"+
		strings.ReplaceAll(`--b b
Content-Disposition: form-data; name="model"

openai
--b b
Content-Disposition: form-data; name="model"

second
--b b
Content-Disposition: form-data; name="upload"; filename="f.txt"

file
--b b--
`, "\n", "\r\n"))
	wantVar(t, parts, "post_arg.model", "openai")
	wantVar(t, parts, "post_arg.upload", "absent")
	wantVar(t, parts, "post_arg_model", "absent")

	body := newExchange(t, jsonRequest)
	for name, want := range map[string]string{
		"post_arg.model":                       "m-1",
		"post_arg.n":                           "5",
		"post_arg.price":                       "1.50",
		"post_arg.on":                          "true",
		"post_arg.none":                        "absent",
		"post_arg.nested.deep.x":               "y",
		"post_arg.nested.deep":                 `{"x":"y"}`,
		"post_arg.nested.no.x":                 "absent",
		"post_arg.model.x":                     "absent",
		"post_arg['a.b']":                      "absent",
		"post_arg.nested['deep'].x":            "y",
		"post_arg.tags":                        "red,blue,3",
		"post_arg.tags[1]":                     "blue",
		"post_arg.tags[3]":                     "absent",
		"post_arg.tags[*]":                     "red,blue,3",
		"post_arg.empty":                       "",
		"post_arg.empty[*]":                    "absent",
		"post_arg.messages[1].role":            "user",
		"post_arg.messages[*].role":            "system,user",
		"post_arg.messages[*].content[*].type": "text,text,image_url",
		"post_arg.nested.*.x":                  "y",
		"post_arg.messages[0].content":         `[{"type":"text"}]`,
		"post_arg_model":                       "absent",
		"post_arg.bad[":                        "absent",
	} {
		wantVar(t, body, name, want)
	}
}

func TestPostArgsWithoutBody(t *testing.T) {
	unread := newExchange(t, "POST / HTTP/1.1\nContent-Type: application/json")
	failed := newExchange(t, "POST / HTTP/1.1\nContent-Type: application/json")
	failed.SetBody([]byte(`{"a":"1"}`), errors.New("broken off"))
	broken := newExchange(t, "POST / HTTP/1.1\nContent-Type: application/json\n\n"+`{"a":"1"`)
	untyped := newExchange(t, "POST / HTTP/1.1\n\n"+`{"a":"1"}`)
	unbound := newExchange(t, "POST / HTTP/1.1\nContent-Type: multipart/form-data\n\n--x")
	for _, x := range []*gateway.Exchange{unread, failed, broken, untyped, unbound} {
		wantVar(t, x, "post_arg.a", "absent")
		wantVar(t, x, "post_arg_a", "absent")
		wantVar(t, x, "graphql_name", "absent")
	}
	unread.SetBody([]byte(`{"a":"1"}`), nil)
	wantVar(t, unread, "post_arg.a", "1")
	unread.ReplaceBody([]byte(`{"a":"2"}`))
	wantVar(t, unread, "post_arg.a", "2")
}

// TestTypedValues is about left sides that are no text: they keep the type that JSON gave them.
func TestTypedValues(t *testing.T) {
	x := newExchange(t, jsonRequest)
	for raw, want := range map[string]bool{
		`[["post_arg.model","==","m-1"]]`:                                 true,
		`[["post_arg.n","==",5]]`:                                         true,
		`[["post_arg.n","==","5"]]`:                                       false,
		`[["post_arg.n","~=","5"]]`:                                       true,
		`[["post_arg.n",">","4"]]`:                                        true,
		`[["post_arg.price","==",1.5]]`:                                   true,
		`[["post_arg.n","in",["5"]]]`:                                     false,
		`[["post_arg.n","in",["5",5.0]]]`:                                 true,
		`[["post_arg.n","~~","5"]]`:                                       false,
		`[["post_arg.on","==",true]]`:                                     true,
		`[["post_arg.on","==","true"]]`:                                   false,
		`[["post_arg.off","==",false]]`:                                   true,
		`[["post_arg.off","in",[true,false]]]`:                            true,
		`[["post_arg.on",">",0]]`:                                         false,
		`[["post_arg.none","==",null]]`:                                   true,
		`[["post_arg.nested","==",null]]`:                                 false,
		`[["post_arg.nested","has","deep"]]`:                              false,
		`[["post_arg.nested","ipmatch","::/0"]]`:                          false,
		`[["post_arg.tags","has","blue"]]`:                                true,
		`[["post_arg.tags","has",3]]`:                                     true,
		`[["post_arg.tags","has","3"]]`:                                   false,
		`[["post_arg.tags","has",null]]`:                                  false,
		`[["post_arg.tags","!","has","green"]]`:                           true,
		`[["post_arg.tags","==","red,blue,3"]]`:                           false,
		`[["post_arg.tags[1]","==","blue"]]`:                              true,
		`[["post_arg.tags[1]","has","blue"]]`:                             true,
		`[["post_arg.tags[1]","has","red"]]`:                              false,
		`[["post_arg.model","has","m-1"]]`:                                false,
		`[["post_arg.messages[*].content[*].type","has","image_url"]]`:    true,
		`[["post_arg.messages[*].content[*].type","has","input_audio"]]`:  false,
		`[["post_arg.messages[*].content[0].type","has","image_url"]]`:    false,
		`[["post_arg.no[*]","has","x"],["post_arg.no[*]","==",null]]`:     false,
		`[["post_arg.no[*]","==",null],["post_arg.empty","~=",null]]`:     true,
		`["AND",["post_arg.model","~*","^M"],["post_arg.n","!","<",5.0]]`: true,
	} {
		if got := mustCompile(t, raw).Match(x); got != want {
			t.Errorf("%s = %v; want %v", raw, got, want)
		}
	}
}

func TestParsePath(t *testing.T) {
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "a[", "a[]", "a[x]", "a[-1]", "a[1]b", "a['']", "[0]", "a[99999999999]"} {
		if path, err := parsePath(bad); err == nil {
			t.Errorf("parsePath(%q) = %+v; want an error", bad, path)
		}
	}
}
