// SPDX-License-Identifier: Apache-2.0

package expr

import "testing"

func TestTemplate(t *testing.T) {
	x := newExchange(t, "POST /a?x=1&x-y=2 HTTP/1.1\nHost: h.example\nContent-Type: application/json\n\n"+`{"a":{"b":["c"]}}`)
	x.SetVar("1", "captured")
	for _, c := range []struct{ text, want string }{
		{``, ``},
		{`plain`, `plain`},
		{`$uri`, `/a`},
		{`${uri}`, `/a`},
		{`$scheme://$host$uri?$args`, `http://h.example/a?x=1&x-y=2`},
		{`${arg_x}y`, `1y`},
		{`$arg_x-y`, `1-y`},
		{`${arg_x-y}`, `2`},
		{`$unknown.`, `.`},
		{`a${unknown}b`, `ab`},
		{`\$uri`, `$uri`},
		{`\${uri}$uri\$`, `${uri}/a$`},
		{`\n\`, `\n\`},
		{`$`, `$`},
		{`$$uri`, `$/a`},
		{`a$ b`, `a$ b`},
		{`${`, `${`},
		{`${}`, `${}`},
		{`${a b}`, `${a b}`},
		{`${uri`, `${uri`},
		{`$host.example.com`, `h.example.example.com`},
		{`$post_arg.a.b[0].`, `c.`},
		{`${post_arg.a.b[*]}`, `c`},
		{`/new/$1`, `/new/captured`},
	} {
		template := ParseTemplate(c.text)
		if got := template.String(x); got != c.want {
			t.Errorf("%s: String = %q; want %q", c.text, got, c.want)
		}
		if got := string(template.Append([]byte("> "), x)); got != "> "+c.want {
			t.Errorf("%s: Append = %q; want %q", c.text, got, "> "+c.want)
		}
	}
}

func TestTemplateConst(t *testing.T) {
	for _, c := range []struct {
		text, want string
		ok         bool
	}{
		{``, ``, true}, {`a`, `a`, true}, {`a\$b$`, `a$b$`, true}, {`$uri`, ``, false}, {`a$uri`, ``, false},
	} {
		if got, ok := ParseTemplate(c.text).Const(); got != c.want || ok != c.ok {
			t.Errorf("%s: Const = %q, %v; want %q, %v", c.text, got, ok, c.want, c.ok)
		}
	}
}

func TestTemplateResolve(t *testing.T) {
	x := newExchange(t, "GET /a?x=1&empty= HTTP/1.1")
	for _, c := range []struct {
		text, want string
		ok         bool
	}{
		{`$arg_x-$arg_none`, `1-`, true}, {`k:$arg_none$arg_empty`, ``, false}, {`plain`, ``, false}, {``, ``, false},
	} {
		if got, ok := ParseTemplate(c.text).Resolve(x); got != c.want || ok != c.ok {
			t.Errorf("%s: Resolve = %q, %v; want %q, %v", c.text, got, ok, c.want, c.ok)
		}
		if got, ok := ParseTemplate(c.text).AppendResolved([]byte("~"), x); string(got) != "~"+c.want || ok != c.ok {
			t.Errorf("%s: AppendResolved = %q, %v; want %q, %v", c.text, got, ok, "~"+c.want, c.ok)
		}
	}
}

func TestTemplateAllocates(t *testing.T) {
	x := newExchange(t, "GET /a?x=1 HTTP/1.1\nHost: h.example\nX-A: b")
	whole := ParseTemplate("$scheme://$host$request_uri;$arg_x;$http_x_a;$remote_addr;$status;$unknown")
	dst := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { dst = whole.Append(dst[:0], x) }); n != 0 {
		t.Errorf("Append allocates %v times", n)
	}
	if got, want := string(dst), "http://h.example/a?x=1;1;b;192.0.2.7;000;"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	one := ParseTemplate("$http_x_a")
	if n := testing.AllocsPerRun(100, func() { one.String(x) }); n != 0 {
		t.Errorf("String of one variable allocates %v times", n)
	}
}
