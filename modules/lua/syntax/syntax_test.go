// SPDX-License-Identifier: Apache-2.0

package syntax

import (
	"strings"
	"testing"
)

// TestErrors holds texts to what LuaJIT says.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"return function(vars) return", `[string "return function(vars) return"]:1: 'end' expected near '<eof>'`},
		{"local _M = {", `[string "local _M = {"]:1: unexpected symbol near '<eof>'`},
		{"x = = 1 --", `[string "x = = 1 --"]:1: unexpected symbol near '='`},
		{"local x = ", `[string "local x = "]:1: unexpected symbol near '<eof>'`},
		{"ngx.log(", `[string "ngx.log("]:1: unexpected symbol near '<eof>'`},
		{"if x then\n y()\n", `[string "if x then..."]:3: 'end' expected (to close 'if' at line 1) near '<eof>'`},
		{"f(1", `[string "f(1"]:1: ')' expected near '<eof>'`},
		{"end", `[string "end"]:1: '<eof>' expected near 'end'`},
		{"x", `[string "x"]:1: '=' expected near '<eof>'`},
		{"f() = 1", `[string "f() = 1"]:1: unexpected symbol near '='`},
		{"(x)", `[string "(x)"]:1: syntax error near '<eof>'`},
		{"for i do end", `[string "for i do end"]:1: '=' or 'in' expected near 'do'`},
		{"function f(1) end", `[string "function f(1) end"]:1: <name> or '...' expected near '1'`},
		{"return function() return ... end", `[string "return function() return ... end"]:1: cannot use '...' outside a vararg function near '...'`},
		{"x = 'a", `[string "x = 'a"]:1: unfinished string near '<eof>'`},
		{"x = \"a\nb\"", `[string "x = "a..."]:1: unfinished string near '"a'`},
		{`x = "\q"`, `[string "x = "\q""]:1: invalid escape sequence near '"\q'`},
		{`x = "\300"`, `[string "x = "\300""]:1: invalid escape sequence near '"\300'`},
		{"x = 3x", `[string "x = 3x"]:1: malformed number near '3x'`},
		{"x = [[a", `[string "x = [[a"]:1: unfinished long string near '<eof>'`},
		{"--[[ a", `[string "--[[ a"]:1: unfinished long comment near '<eof>'`},
		{"local 1", `[string "local 1"]:1: '<name>' expected near '1'`},
		{"a.b:c = 1", `[string "a.b:c = 1"]:1: function arguments expected near '='`},
		{strings.Repeat("(", 300), `[string "` + strings.Repeat("(", 45) + `..."]:1: chunk has too many syntax levels`},
		{strings.Repeat(" ", maxSource+1), `[string "` + strings.Repeat(" ", 45) + `..."]:1: chunk has more than 524288 bytes`},
	} {
		err := Check(c.source, ChunkName(c.source))
		if err == nil || err.Error() != c.want {
			t.Errorf("%.40q:\n got %v\nwant %s", c.source, err, c.want)
		}
	}
}

func TestValid(t *testing.T) {
	for _, source := range []string{
		"", ";;", "return", "return 1, 2;", "local a, b = 1, ...", "x = 0x1F + 1e-3 + .5 + 3. + 0x.8p-1 + 1LL",
		"goto done; local goto_x = 1 ::done::", "goto = 1", "f{1, a = 2; [3] = 4, f(),}", `f"x" 'y' [[z]] [==[ ]] ]==]`,
		"a.b.c[d]:e(1):f{}.g = function(x, ...) return ... end", "for i = 1, 10, 2 do break end for k, v in pairs(t) do end",
		"repeat local x = not -#y ^ 2 .. 'z' until x == nil or x ~= false and true", "while a do if b then elseif c then else end end",
		"local function f() end function a.b:c() end", "-- comment\n--[==[ long\n ]==] x = 1", "(f or g)(x)", `x = "\z
			a\x41\u{48}\065\
"`, "return (function(code) return code end)(...)",
	} {
		if err := Check(source, "s"); err != nil {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("return function(a, ...) local b = {[1] = 'x'} ; goto y ::y:: end")
	f.Fuzz(func(t *testing.T, source string) { _ = Check(source, "s") })
}
