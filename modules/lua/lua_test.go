// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// wire is what a function may ask of an exchange.
type wire struct {
	ctx  context.Context
	body string
}

func (w *wire) Context() context.Context { return w.ctx }

func (w *wire) ReadBody(limit int64) ([]byte, error) {
	if int64(len(w.body)) > limit {
		return nil, gateway.ErrBodyTooLarge
	}
	return []byte(w.body), nil
}

// newExchange returns an exchange for POST /a?q=1&e with a body.
func newExchange(t testing.TB, body string) *gateway.Exchange {
	x := new(gateway.Exchange)
	r := &x.Request
	r.Method, r.Scheme, r.ProtoMajor, r.ProtoMinor = "POST", "http", 1, 1
	r.SetHost("Example.com:80")
	if err := r.SetTarget("/a?q=1&e"); err != nil {
		t.Fatal(err)
	}
	r.Header.Add("X-A", "1")
	r.Header.Add("X-A", "2")
	r.Header.Add("User-Agent", "test")
	r.Peer = netip.MustParseAddrPort("192.0.2.1:1234")
	r.Client = netip.MustParseAddrPort("192.0.2.1:1234")
	x.Route = &gateway.Route{ID: "r1"}
	x.Begin(nil, nil, &wire{t.Context(), body})
	return x
}

func compile(t testing.TB, config string, sources ...string) *Program {
	t.Helper()
	chunks := make([]*Chunk, len(sources))
	for i, source := range sources {
		var err error
		if chunks[i], err = Load(source); err != nil {
			t.Fatal(err)
		}
	}
	return NewProgram(json.RawMessage(config), nil, chunks...)
}

// eval returns what an expression is, as text.
func eval(t testing.TB, code string) string {
	t.Helper()
	p := compile(t, `{"a":{"b":[1,2]}}`, "return function(conf, ctx) "+code+" end")
	out, err := p.Call(newExchange(t, `{"k":"v"}`), Access, OnLoop)
	if err != nil {
		return err.Error()
	}
	return string(out.Body)
}

func TestLanguage(t *testing.T) {
	for code, want := range map[string]string{
		// The operators and the base library.
		`return 200, "a" .. 1 .. 2.5 .. "b"`: "a12.5b",
		`return 200, ("x"):rep(3) .. #"abc"`: "xxx3",
		`local t = setmetatable({}, {__concat = function(a, b) return "m" end}) return 200, ("a" .. t) .. "b"`: "m",
		`return 200, {pcall(function() return 1 .. nil end)}`:                                                  `[false,"[string \"return function(conf, ctx) return 200, {pcall...\"]:1: attempt to concatenate a nil value"]` + "\n",
		`return 200, tostring(1e15) .. tostring(-0.5) .. tostring(2^53) .. tostring(100)`:                      "1e+15-0.59.007199254741e+15100",
		`local s = 0 for i, v in ipairs({1, 2, 3}) do s = s + v end return 200, tostring(s)`:                   "6",
		`return 200, tostring(select("#", unpack({1, 2, 3})))`:                                                 "3",
		`return 200, tostring(getmetatable("")) .. tostring(rawget(_G, "x"))`:                                  "falsenil",
		`goto done do return 500 end ::done:: return 200, "jumped"`:                                            "jumped",
		`return 200, tostring(math.floor(3.7)) .. tostring(math.max(1, 5)) .. tostring(math.random(1, 1))`:     "351",
		`x = (x or 0) + 1 return 200, tostring(x)`:                                                             "1",
		// Strings.
		`return 200, ("hello world"):gsub("o", "0")`:                                                          "hell0 w0rld",
		`return 200, (("hello world"):gsub("(%w+)", "<%1>"))`:                                                 "<hello> <world>",
		`return 200, (("abc"):gsub("", "-"))`:                                                                 "-a-b-c-",
		`return 200, (("abc"):gsub("%w", {a = "1", b = true}))`:                                               "invalid replacement value (a boolean)",
		`return 200, (("abc"):gsub("%w", function(c) if c == "b" then return "B" end end))`:                   "aBc",
		`return 200, ("key = value"):match("^(%w+)%s*=%s*(%w+)$")`:                                            "key",
		`local a, b, c = ("2026-01-02"):match("(%d+)-(%d+)-(%d+)") return 200, c .. b .. a`:                   "02012026",
		`return 200, tostring(("a.b"):find(".", 1, true)) .. tostring(("a.b"):find("%."))`:                    "22",
		`return 200, ("THE (quick) fox"):match("%b()")`:                                                       "(quick)",
		`return 200, ("THE (quick) fox"):gsub("%f[%a]%a+", "W")`:                                              "W (W) W",
		`local t = {} for k, v in ("a=1, b=2"):gmatch("(%w+)=(%w+)") do t[k] = v end return 200, t`:           `{"a":"1","b":"2"}` + "\n",
		`local n = 0 for _ in ("abc"):gmatch("") do n = n + 1 end return 200, tostring(n)`:                    "4",
		`return 200, ("x"):match("()x()")`:                                                                    "1",
		`return 200, ("[a-z]"):match("[%]%-%[]")`:                                                             "[",
		`return 200, ("aaa"):match("a-b") or "none"`:                                                          "none",
		`return 200, ("abab"):match("(ab)%1")`:                                                                "ab",
		`return 200, ("a"):match("(")`:                                                                        "unfinished capture",
		`return 200, ("a"):match("[a")`:                                                                       "malformed pattern (missing ']')",
		`return 200, ("a"):match("%")`:                                                                        "malformed pattern (ends with '%')",
		`return 200, string.format("%5d|%-5s|%05.1f|%x|%q|%g|%c|%%", 42, "ab", 3.14159, 255, 'a"b', 0.1, 65)`: `   42|ab   |003.1|ff|"a\"b"|0.1|A|%`,
		`return 200, string.format("%d")`:                                                                     "bad argument #2 to format (number expected, got nil)",
		`return 200, string.format("%y", 1)`:                                                                  "invalid option '%y' to 'format'",
		`return 200, string.format("%999d", 1)`:                                                               "invalid format (width or precision too long)",
		`return 200, ("abc"):sub(-2) .. ("abc"):upper() .. ("ABC"):lower() .. ("abc"):reverse() .. ("abc"):byte(2) .. string.char(72, 105)`: "bcABCabccba98Hi",
		// Tables.
		`local t = {3, 1, 2} table.sort(t) table.insert(t, 4) table.insert(t, 1, 0) table.remove(t) return 200, table.concat(t, ",")`: "0,1,2,3",
		`local t = {"b", "a"} table.sort(t, function(a, b) return a < b end) return 200, table.concat(t)`:                             "ab",
		`local n = require("table.new") local t = n(4, 0) t[1] = "x" return 200, tostring(require("table.nkeys")(t))`:                 "1",
		`local core = require("apisix.core") return 200, {c = core.table.deepcopy(conf), n = core.table.nkeys({a = 1})}`:              `{"c":{"a":{"b":[1,2]}},"n":1}` + "\n",
		// JSON.
		`local cjson = require("cjson") return 200, cjson.encode({1, "a", true, cjson.null, {}})`:                                        `[1,"a",true,null,{}]`,
		`local core = require("apisix.core") return 200, core.json.encode(core.json.decode('{"b":[],"a":{"x":1.5,"y":"\\u00e9\\n/"}}'))`: `{"b":[],"a":{"x":1.5,"y":"é\n/"}}`,
		`local v, err = require("cjson.safe").decode("{x}") return 200, err`:                                                             "Expected object key string but found invalid token at character 2",
		`local v, err = require("cjson.safe").decode("") return 200, err`:                                                                "Expected value but found T_END at character 1",
		`local v, err = require("cjson.safe").decode('[1 2]') return 200, err`:                                                           "Expected comma or array end but found T_NUMBER at character 4",
		`return require("cjson").decode("[")`:                                                                                            "Expected value but found T_END at character 2",
		`local v, err = require("apisix.core").json.encode({f = print}) return 200, err`:                                                 "Cannot serialise function: type not supported",
		// Regular expressions.
		`local m = ngx.re.match("hello, 1234", "([0-9])([0-9]+)(x)?", "jo") return 200, m[0] .. m[1] .. m[2] .. tostring(m[3])`: "12341234false",
		`local m = ngx.re.match("k=v", "(?<key>\\w)=(?<value>\\w)") return 200, m.key .. m.value`:                               "kv",
		`return 200, (ngx.re.gsub("a1b22", "[0-9]+", "<$0>", "jo"))`:                                                            "a<1>b<22>",
		`return 200, (ngx.re.sub("aaa", "^a", function(m) return m[0] .. "-" end))`:                                             "a-aa",
		`return 200, (ngx.re.gsub("aaa", "^a", "b"))`:                                                                           "baa",
		`return 200, (ngx.re.gsub("foobar", "foo(?=bar)", "x"))`:                                                                "xbar",
		`local n = 0 for m in ngx.re.gmatch("a b c", "\\w") do n = n + 1 end return 200, tostring(n)`:                           "3",
		`local from, to = ngx.re.find("abc", "b") return 200, from .. to`:                                                       "22",
		// ngx.
		`return 200, ngx.escape_uri("a b/é") .. ngx.unescape_uri("a%20b+c%zz")`:                                         "a%20b%2F%C3%A9a b c%zz",
		`return 200, ngx.encode_args({a = 1, b = {"x y", true}}) .. "|" .. tostring(ngx.decode_args("a=1&a=2&b").a[2])`: "a=1&b=x%20y&b|2",
		`return 200, ngx.encode_base64("hello") .. ngx.decode_base64("aGk") .. ngx.md5("x")`:                            "aGVsbG8=hi9dd4e461268c8034f5c8564e155c67a6",
		`return 200, ngx.get_phase() .. ngx.HTTP_FORBIDDEN .. ngx.config.subsystem`:                                     "access403http",
		`return 200, ngx.http_time(0) .. ngx.parse_http_time("Thu, 01 Jan 1970 00:00:10 GMT")`:                          "Thu, 01 Jan 1970 00:00:00 GMT10",
		// The request.
		`return 200, ngx.var.uri .. ngx.var.arg_q .. ngx.var.http_user_agent .. ctx.var.remote_addr .. tostring(ngx.var.nothing)`:                                     "/a1test192.0.2.1nil",
		`return 200, ngx.req.get_method() .. ngx.req.get_headers()["User-Agent"] .. ngx.req.get_headers().x_a[2]`:                                                     "POSTtest2",
		`local a = ngx.req.get_uri_args() return 200, a.q .. tostring(a.e)`:                                                                                           "1true",
		`ngx.req.read_body() return 200, ngx.req.get_body_data()`:                                                                                                     `{"k":"v"}`,
		`local core = require("apisix.core") return 200, core.request.header(ctx, "x-a") .. core.request.get_ip(ctx) .. core.request.get_json_request_body_table().k`: "1192.0.2.1v",
		`local core = require("apisix.core") local b, err = core.request.get_body(3, ctx) return 200, err`:                                                            "request size 9 is greater than the maximum size 3 allowed",
		`ctx.foo = {a = {1}} ctx.foo.a[2] = 2 return 200, ctx.foo`:                                                                                                    `{"a":[1,2]}` + "\n",
		`return 200, ctx.route_id .. conf.a.b[2] .. tostring(ngx.ctx.api_ctx == ctx)`:                                                                                 "r12true",
		`local core = require("apisix.core") return 200, core.utils.resolve_var("$uri-${arg_q}", ctx.var)`:                                                            "/a-1",
		`local core = require("apisix.core") return 200, tostring(core.string.has_prefix("abc", "ab")) .. core.string.find("a.c", ".")`:                               "true2",
		// What cannot be done.
		`string.upper = nil`:              "string.upper cannot be set",
		`rawset(string, "upper", 1)`:      "bad argument #1 to rawset (table expected, got userdata)",
		`ngx.var.uri = "/b"`:              `variable "uri" not changeable`,
		`return 200, ngx.arg[1]`:          "API disabled in the context of access_by_lua*",
		`error("own")`:                    "own",
		`error({code = 1})`:               "table: 0x",
		`local x = nil; x.y = 1`:          "attempt to index a non-table object(nil) with key 'y'",
		`return setmetatable(string, {})`: "bad argument #1 to setmetatable (table expected, got userdata)",
	} {
		if got := eval(t, code); got != want && (!strings.Contains(got, want) || !strings.HasPrefix(got, "[string ")) && !strings.HasPrefix(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", code, got, want)
		}
	}
}

// TestSideEffects is what functions do to the exchange.
func TestSideEffects(t *testing.T) {
	x := newExchange(t, "old")
	p := compile(t, "", `return function(conf, ctx)
		local core = require("apisix.core")
		core.request.set_header(ctx, "X-A", "new\r\nX-Evil: 1")
		core.request.add_header(ctx, "X-B", {"1", "2"})
		core.request.set_header(ctx, "Host", "node")
		ngx.req.set_header("Transfer-Encoding", "chunked")
		ngx.req.clear_header("User-Agent")
		ngx.req.set_uri_args({q = 2})
		ngx.req.set_uri("/new path")
		ngx.req.set_method(ngx.HTTP_PUT)
		ngx.req.set_body_data("new")
		core.response.set_header("X-C", 1)
		ngx.header.content_type = "text/x"
		ngx.header["Set-Cookie"] = {"a=1", "b=2"}
		ctx.var.mine = "yes"
		ngx.var.upstream_scheme = "https"
	end`)
	out, err := p.Call(x, Rewrite, OnLoop)
	if err != nil || out.Ended {
		t.Fatalf("got %+v, %v", out, err)
	}
	var request, response []string
	for name, value := range x.Request.Header.All() {
		if strings.HasPrefix(name, "X-Forwarded-") {
			continue
		}
		request = append(request, name+": "+value)
	}
	for name, value := range x.Response.Header.All() {
		response = append(response, name+": "+value)
	}
	if got, want := strings.Join(request, "|"), "X-A: new  X-Evil: 1|X-B: 1|X-B: 2"; got != want {
		t.Errorf("request: got %s, want %s", got, want)
	}
	if got, want := strings.Join(response, "|"), "X-C: 1|content-type: text/x|Set-Cookie: a=1|Set-Cookie: b=2"; got != want {
		t.Errorf("response: got %s, want %s", got, want)
	}
	f := &x.Forward
	if f.Host != "node" || f.Target != "/new%20path?q=2" || f.Method != "PUT" || f.Scheme != "https" || string(f.Body) != "new" {
		t.Errorf("got forward %+v", f)
	}
	if mine, _ := x.CustomVar("mine"); mine != "yes" {
		t.Errorf("got variable %q", mine)
	}
}

// TestOutcomes is how functions end requests.
func TestOutcomes(t *testing.T) {
	for code, want := range map[string]Outcome{
		``:                                 {},
		`return`:                           {},
		`return 403`:                       {true, 403, nil},
		`return 401, "no"`:                 {true, 401, []byte("no")},
		`return 401, {message = "no"}`:     {true, 401, []byte(`{"message":"no"}` + "\n")},
		`return nil, "text"`:               {true, 200, []byte("text")},
		`return "text"`:                    {true, 200, []byte("text")},
		`ngx.exit(403)`:                    {true, 403, nil},
		`ngx.exit(ngx.OK)`:                 {},
		`ngx.exit(ngx.ERROR)`:              {true, 500, nil},
		`ngx.exit(200)`:                    {true, 200, nil},
		`ngx.say("a", 1, nil, {"b", "c"})`: {true, 200, []byte("a1nilbc\n")},
		`ngx.status = 201 ngx.print("a") ngx.exit(500)`:      {true, 201, []byte("a")},
		`pcall(ngx.exit, 403) ngx.say("still here")`:         {true, 403, nil},
		`require("apisix.core").response.exit(418, {a = 1})`: {true, 418, []byte(`{"a":1}` + "\n")},
		`require("apisix.core").response.exit(503)`:          {true, 503, nil},
		`ngx.redirect("/b", 301)`:                            {true, 301, nil},
		`return 99`:                                          {true, 500, nil},
	} {
		p := compile(t, "", "return function() "+code+" end", `return function(conf, ctx) ctx.second = true end`)
		out, err := p.Call(newExchange(t, ""), Access, OnLoop)
		if err != nil || out.Ended != want.Ended || out.Status != want.Status || string(out.Body) != string(want.Body) || (out.Body == nil) != (want.Body == nil) {
			t.Errorf("%s: got %+v %q (%v), want %+v %q", code, out, out.Body, err, want, want.Body)
		}
	}
}

// TestBounds: whatever a function does, it ends, and the state serves the next call.
func TestBounds(t *testing.T) {
	for code, want := range map[string]string{
		`while true do end`: "it took more than 100000 steps",
		`while true do pcall(function() while true do end end) end`:          "it took more than 100000 steps",
		`local function f() return f() end return f()`:                       "it took more than 100000 steps",
		`local function f() return 1 + f() end return f()`:                   "stack overflow",
		`local s = "x" while true do s = s .. s end`:                         "it made more than 16777216 bytes of text",
		`return 200, ("x"):rep(1e9)`:                                         "it made more than 16777216 bytes of text",
		`return 200, ("x"):rep(1e9, "yyy")`:                                  "it made more than 16777216 bytes of text",
		`local t = {} for i = 1, 1e9 do t[i] = ("x"):rep(1e6) end`:           "it made more than 16777216 bytes of text",
		`return 200, (("a"):rep(1000):find(("a-"):rep(20) .. "b"))`:          "it took more than 100000 steps",
		`return 200, ("a"):rep(300):find(("(a"):rep(300))`:                   "too many captures",
		`return 200, unpack({}, 1, 1e8)`:                                     "registry overflow",
		`local t = {} for i = 1, 20000 do t[i] = i % 7 end table.sort(t)`:    "it took more than 100000 steps",
		`local t = {} t.t = t return 200, t`:                                 "Cannot serialise, excessive depth (1001)",
		`return 200, require("cjson").decode(("["):rep(2000))`:               "Found too many nested data structures (1001)",
		`return 200, ngx.re.match(("a"):rep(60) .. "!", "^(?!b)(a+)+$")`:     "a search took longer than 10ms",
		`return 200, string.format(("%99d"):rep(1000), unpack({}, 1, 1000))`: "number expected",
	} {
		p := compile(t, "", "return function() if ngx.var.arg_q == '1' then "+code+" end return 204 end")
		x := newExchange(t, "")
		if out, err := p.Call(x, Access, OnLoop); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, %v; want %s", code, out.Status, err, want)
		}
		x.Request.Query = ""
		if out, err := p.Call(x, Access, OnLoop); err != nil || out.Status != 204 {
			t.Errorf("%s: the next call: got %+v, %v", code, out, err)
		}
		if len(p.idle) != 1 {
			t.Errorf("%s: %d states are left, want 1", code, len(p.idle))
		}
	}
}

// TestClientGone: what nobody waits for ends.
func TestClientGone(t *testing.T) {
	for _, code := range []string{"while true do end", "ngx.sleep(3000)"} {
		ctx, cancel := context.WithCancel(t.Context())
		x := newExchange(t, "")
		x.Begin(nil, nil, &wire{ctx: ctx})
		p := compile(t, "", "return function() "+code+" end")
		done := make(chan error)
		go func() {
			_, err := p.Call(x, Access, Limits{Steps: 1 << 60, Bytes: 1 << 60})
			done <- err
		}()
		cancel()
		if err := <-done; err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
			t.Errorf("%s: got %v, want %v", code, err, context.Canceled)
		}
	}
}

// TestRefused is what is known to be missing before anything runs.
func TestRefused(t *testing.T) {
	for source, want := range map[string]string{
		`return function() os.exit() end`:                                      "os is not available: use ngx.time, ngx.now or ngx.localtime",
		`return function() return io.open("/etc/passwd") end`:                  "io is not available",
		`return function() ngx.foo = 1 end`:                                    "ngx.foo is not available",
		"\n\nloadstring('x')":                                                  `[string "..."]:3: loadstring is not available`,
		`local t = {d = debug}`:                                                "debug is not available",
		`return function() ngx.location.capture("/") end`:                      "ngx.location is not available",
		`local r = ngx.req return r.raw_header()`:                              "ngx.req.raw_header is not available",
		`local core = require("apisix.core") core.lrucache.new()`:              "core.lrucache is not available",
		`local core = require("apisix.core") local log = core.log log.trace()`: "core.log.trace is not available",
		`local http = require("resty.http")`:                                   "module 'resty.http' not found",
		`return require "apisix.plugin"`:                                       "module 'apisix.plugin' not found",
		`f(function() return package.loaded end)`:                              "package is not available",
		`x = coroutine.wrap`:                                                   "coroutine is not available",
		"local x = 1\nlocal _ = 2 +":                                           `[string "local x = 1..."]:2: unexpected symbol near '<eof>'`,
		"break":                                                                "break",
		"goto nowhere":                                                         "nowhere",
	} {
		if _, err := Load(source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", source, err, want)
		}
	}
	for _, source := range []string{
		`local os = {time = 1} return os.time`, `io = 1 return io`, `return function(debug) return debug.x end`,
		`local core = require("apisix.core") core = {} return core.anything`, `local require = print return require("x")`,
		`for os in pairs({}) do local _ = os end`, `local function load() return load end`,
		`local t = {} function t.io(x) return self end`, `return ngx[name]`,
	} {
		if _, err := Load(source); err != nil {
			t.Errorf("%s: %v", source, err)
		}
	}
}

// TestCtx: fields of ctx go from hook to hook and from program to program by value, and end with the exchange.
func TestCtx(t *testing.T) {
	x := newExchange(t, "")
	first := compile(t, "", `local shared = {n = 1} return function(conf, ctx)
		ctx.shared, ctx.text, ngx.ctx.own, ctx.list = shared, "t", {true}, {{1}}
	end`)
	second := compile(t, "", `local kept return function(conf, ctx)
		kept = kept or ctx.shared
		kept.n = kept.n + 1
		ctx.list[2] = ctx.list[1][1]
		return 200, {ctx.shared.n, ctx.text, ngx.ctx.own[1], ctx.list, ctx.nothing == nil, ctx.var.uri}
	end`)
	for i, want := range []string{`[2,"t",true,[[1],1],true,"/a"]`, `[1,"t",true,[[1],1],true,"/a"]`} {
		if _, err := first.Call(x, Rewrite, OnLoop); err != nil {
			t.Fatal(err)
		}
		out, err := second.Call(x, Access, OnLoop)
		if err != nil || string(out.Body) != want+"\n" {
			t.Errorf("call %d: got %s (%v), want %s", i+1, out.Body, err, want)
		}
		x.Reset()
		x = newExchange(t, "")
	}
	if kept, _ := (*x.Scripts()).(*session); kept != nil {
		t.Error("a new exchange has fields already")
	}
}

// TestLocalsLast: what is local to the chunk lasts from call to call.
func TestLocalsLast(t *testing.T) {
	p := compile(t, "", `local n = 0 return function() n = n + 1 return 200, tostring(n) end`)
	for _, want := range []string{"1", "2", "3"} {
		if out, err := p.Call(newExchange(t, ""), Access, OnLoop); err != nil || string(out.Body) != want {
			t.Errorf("got %s (%v), want %s", out.Body, err, want)
		}
	}
}

// TestStringsAreCopied: the exchange uses its memory again, which a function that keeps a text must not see.
func TestStringsAreCopied(t *testing.T) {
	p := compile(t, "", `local kept return function() kept = kept or ngx.var.http_x return 200, kept end`)
	value := []byte("first")
	for range 2 {
		x := newExchange(t, "")
		x.Request.Header.Add("X", string(value))
		out, err := p.Call(x, Access, OnLoop)
		if err != nil || string(out.Body) != "first" {
			t.Errorf("got %s (%v), want first", out.Body, err)
		}
		copy(value, "other")
	}
}

func TestCheck(t *testing.T) {
	for source, want := range map[string]string{
		`return function() end`: "function", `return {}`: "table", `local a = 1`: "nil", `ngx.say("x")`: "nil",
		`error("x")`: "x", `return ngx.req.get_method()`: "no request found", `while true do end`: "it took more than 10000000 steps",
	} {
		var got string
		err := compile(t, "", source).Check(func(name string, err error) error {
			got = name
			return err
		})
		if err != nil {
			got = err.Error()
		}
		if !strings.HasSuffix(got, want) {
			t.Errorf("%s: got %s, want %s", source, got, want)
		}
	}
	errStop := errors.New("stop")
	if err := compile(t, "", `return 1`).Check(func(string, error) error { return errStop }); err != errStop {
		t.Errorf("got %v, want %v", err, errStop)
	}
}

// FuzzLoad: no source takes the loader down.
func FuzzLoad(f *testing.F) {
	f.Add(`local core = require("apisix.core") return function(conf, ctx) return 200, "a" .. ctx.var.uri end`)
	f.Fuzz(func(t *testing.T, source string) {
		if chunk, err := Load(source); err == nil {
			_ = NewProgram(nil, nil, chunk).Check(func(_ string, err error) error { return err })
		}
	})
}

func BenchmarkCall(b *testing.B) {
	for what, code := range map[string]string{
		"empty":  `return function(conf, ctx) end`,
		"header": `local core = require("apisix.core") return function(conf, ctx) core.request.set_header(ctx, "X-A", ctx.var.uri) end`,
		"reject": `return function(conf, ctx) if ctx.var.arg_q == "1" then return 403, {message = "no"} end end`,
	} {
		b.Run(what, func(b *testing.B) {
			p := compile(b, `{"phase":"access"}`, code)
			x := newExchange(b, "")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Call(x, Access, Apart); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestConcurrent: many calls of one program at once, each in a state of its own.
func TestConcurrent(t *testing.T) {
	p := compile(t, `{"n":[1]}`, `local t = {} return function(conf, ctx)
		t[#t + 1], ctx.t = #t, t
		conf.n[1] = conf.n[1] + 1
		return 200, {ngx.var.uri, #ctx.t > 0}
	end`)
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			for range 20 {
				if out, err := p.Call(newExchange(t, ""), Access, OnLoop); err != nil || string(out.Body) != "[\"/a\",true]\n" {
					t.Errorf("got %s (%v)", out.Body, err)
				}
			}
		})
	}
	calls.Wait()
}
