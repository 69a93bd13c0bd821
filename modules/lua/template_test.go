// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"errors"
	"strings"
	"testing"
)

func render(t testing.TB, view string, in Input) string {
	t.Helper()
	template, err := LoadTemplate(view, nil)
	if err != nil {
		return "load: " + err.Error()
	}
	out, err := template.Render(newExchange(t, ""), Rewrite, Apart, in)
	if errors.As(err, new(*DecodeError)) {
		return "decode: " + err.Error()
	}
	if err != nil {
		return "render: " + err.Error()
	}
	return string(out)
}

func TestTemplates(t *testing.T) {
	for _, c := range []struct{ view, format, body, want string }{
		{"plain text { } {x} {", "json", `{}`, "plain text { } {x} {"},
		{`{"a":"{{name}}"}`, "json", `{"name":"x"}`, `{"a":"x"}`},
		{"{{v}}|{*v*}", "json", `{"v":"<a href=\"/'&\">"}`, `&lt;a href=&quot;&#47;&#39;&amp;&quot;&gt;|<a href="/'&">`},
		{"{{n}}{{f}}{{z}}{{none}}{{t.x}}", "json", `{"n":1.5,"f":false,"z":null,"t":{"x":true}}`, "1.5true"},
		{"{% if f then %}yes{% else %}no{% end %}", "json", `{"f":false}`, "no"},
		{"a\n  {% for i, v in ipairs(list) do %}\n{{i}}={{v}}{% if i < #list then %}, {% end %}\n  {% end %}\nb", "json", `{"list":["x","y"]}`, "a\n1=x,2=yb"},
		{`\{{x}} \\{{x}} {# comment #}` + "\n|", "json", `{"x":1}`, `{{x}} \1 |`},
		{"{-raw-}{{x}}{-raw-}{{x}}", "json", `{"x":1}`, "{{x}}1"},
		{"{{ unclosed", "json", `{}`, "{{ unclosed"},
		{"{* _escape_json(s) *} {* _escape_xml(s) *}", "json", `{"s":"\"<&'"}`, `"\"<&'" &quot;&lt;&amp;&apos;`},
		{"{* _escape_json(list) *}{* _escape_json(context.o) *}", "json", `{"list":[],"o":{"b":1,"a":[true]}}`, `[]{"b":1,"a":[true]}`},
		{"{{_ctx.var.uri}} {*_body*}", "json", `{"_ctx":1,"_body":"forged"}`, `&#47;a {"_ctx":1,"_body":"forged"}`},
		{"{% local core = require('apisix.core') %}{* core.json.encode({a = x, b = ngx.var.arg_q}) *}", "json", `{"x":1}`, `{"a":1,"b":"1"}`},
		{"{* string.upper(os) *}{* debug.x *}", "json", `{"os":"linux","debug":{"x":1}}`, "LINUX1"},
		{"{% echo(1, 'a') %}{{function() return 'f' end}}", "json", `{}`, "1af"},
		{"{{q}}{{tostring(e)}}", "args", "", "1true"},
		{"{{a}} {{b[2]}} {{c}}", "encoded", "a=x+y&b=1&b=2&c=%26", "x y 2 &amp;"},
		{"{*_body*}", "plain", "raw <b>", "raw <b>"},
		{"{{a}}", "", `{"a":1}`, ""},
		{"{{[1]}}", "json", `{}`, "load: "},
		{"{(file.html)}", "json", `{}`, "load: {(file.html)}: templates cannot include others"},
		{"{-block-}x{-block-}", "json", `{}`, "load: {-block-}: templates have no blocks"},
		{"{% if %}", "json", `{}`, "load: "},
		{"{{x}}", "json", `{x}`, "decode: Expected object key string but found invalid token at character 2"},
		{"{{x}}", "json", `"text"`, "decode: not an object or array"},
		{"{{x}}", "json", ``, "decode: Expected value but found T_END at character 1"},
		{"{{x.y.z}}", "json", `{"x":{}}`, "render: template:1: attempt to index a non-table object(nil) with key 'z'"},
		{"{% while true do end %}", "json", `{}`, "render: template:1: it took more than 10000000 steps"},
	} {
		got := render(t, c.view, Input{Format: c.format, Body: []byte(c.body)})
		if got != c.want && (!strings.HasSuffix(c.want, ": ") || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s of %s:\n got %q\nwant %q", c.view, c.body, got, c.want)
		}
	}
}

func TestXML(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{`<a>x</a>`, `{"a":"x"}`},
		{`<?xml version="1.0"?><!-- c --><a><b>1</b><b>2</b><c/><d> &lt;&#65;<![CDATA[&]]> </d></a>`, `{"a":{"b":["1","2"],"c":"","d":["<A","&"]}}`},
		{`<s:E xmlns:s="u"><s:B id="1" s:k="2">t</s:B></s:E>`, `{"E":{"_attr":{"s":"u"},"B":{"1":"t","_attr":{"id":"1","k":"2"}}}}`},
		{`<a><b><c>1</c></b><b><c>2</c></b></a>`, `{"a":{"b":[{"c":"1"},{"c":"2"}]}}`},
		{`<a>mixed<b>1</b></a>`, `{"a":"mixed"}`},
		{`<?xml version="1.0" encoding="ISO-8859-1"?><a>` + "\xe9" + `</a>`, `{"a":"é"}`},
		{`<a>`, "decode: element <a> is not closed"},
		{`<a></b>`, "decode: unmatched tag </b>"},
		{`{"a":1}`, "decode: text outside of the root element"},
		{``, "decode: no element"},
		{`<a>&evil;</a>`, "decode: XML syntax error on line 1: invalid character entity &evil;"},
		{`<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>`, "decode: XML syntax error on line 1: invalid character entity &e;"},
		{strings.Repeat("<a>", 300), "decode: elements are too deep within each other"},
	} {
		if got := render(t, "{* _escape_json(context) *}", Input{Format: "xml", Body: []byte(c.body)}); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.body, got, c.want)
		}
	}
}

func TestMultipart(t *testing.T) {
	const body = "--b\r\nContent-Disposition: form-data; name=\"age\"\r\n\r\n5\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"tag\"\r\n\r\nx\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"tag\"\r\n\r\ny\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f.txt\"\r\nContent-Type: text/plain\r\n\r\nfile\r\n--b--\r\n"
	in := Input{Format: "multipart", Body: []byte(body), ContentType: "multipart/form-data; boundary=b"}
	for view, want := range map[string]string{
		"{{age}} {{tag[2]}} {{f}}":                                      "5 y file",
		`{{_multipart:get("f").name}} {{#_multipart:get("f").headers}}`: "f 2",
		`{{#_multipart:get_all_as_arrays().tag}}{{_multipart:get_all().tag}}{{_multipart:get_as_array("age")[1]}}{{tostring(_multipart:get("no"))}}`: "2y5nil",
		`{% _multipart:delete("tag") _multipart:delete("f") _multipart:set_simple("age", age + 1) _multipart:set_simple('n"', "v", "n.txt", "text/x") %}{*_multipart:tostring()*}`: "--b\r\nContent-Disposition: form-data; name=\"age\"\r\n\r\n6\r\n" +
			"--b\r\nContent-Disposition: form-data; name=\"n%22\"; filename=\"n.txt\"\r\nContent-Type: text/x\r\n\r\nv\r\n--b--\r\n",
	} {
		if got := render(t, view, in); got != want {
			t.Errorf("%s:\n got %q\nwant %q", view, got, want)
		}
	}
	in.ContentType = "multipart/form-data"
	if got := render(t, "{{age}}|{*_multipart:tostring()*}", in); got != "|" {
		t.Errorf("without a boundary: got %q", got)
	}
}

func BenchmarkTemplate(b *testing.B) {
	template, err := LoadTemplate(`{"user":"{{name}}","via":"{{_ctx.var.host}}","n":{*n*}}`, nil)
	if err != nil {
		b.Fatal(err)
	}
	x, in := newExchange(b, ""), Input{Format: "json", Body: []byte(`{"name":"jack","n":42}`)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := template.Render(x, Rewrite, Apart, in); err != nil {
			b.Fatal(err)
		}
	}
}
