// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"bufio"
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"testing"
)

func TestCompileRefuses(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{`["arg_a","==","1"]`, "rule should be wrapped inside brackets"},
		{`["arg_a"]`, "rule should be wrapped inside brackets"},
		{`"arg_a"`, "rule should be wrapped inside brackets"},
		{`{"arg_a":"1"}`, "rule should be wrapped inside brackets"},
		{`[["arg_a","==","1"],"arg_b"]`, "rule should be wrapped inside brackets"},
		{`["OR","arg_a","=="]`, "rule should be wrapped inside brackets"},
		{`null`, "missing argument rule"},
		{`[[]]`, "rule too short"},
		{`[{}]`, "rule too short"},
		{`["OR"]`, "rule too short"},
		{`["or",["arg_a","==","1"]]`, "rule too short"},
		{`["OR",["arg_a","==","1"],["AND"]]`, "rule too short"},
		{`[["arg_a"]]`, "invalid expression"},
		{`[[1,"==","1"]]`, "invalid expression"},
		{`[[null,"==","1"]]`, "invalid expression"},
		{`[["arg_a",null,"1"]]`, "invalid expression"},
		{`[["arg_a","=","1"]]`, "invalid operator '='"},
		{`[["arg_a","LIKE","1"]]`, "invalid operator 'like'"},
		{`[["arg_a",5,"1"]]`, "invalid operator '5'"},
		{`[["arg_a","!","=",1]]`, "invalid operator '='"},
		{`[["!","arg_a","==","1"]]`, "bad 'not' expression"},
		{`[["arg_a","==","1","2"]]`, "bad 'not' expression"},
		{`[["remote_addr","ipmatch",null]]`, "invalid ip address"},
		{`[["remote_addr","ipmatch",""]]`, "invalid ip address"},
		{`[["remote_addr","ipmatch",[]]]`, "invalid ip address"},
		{`[["arg_a","ipmatch"]]`, "invalid ip address"},
		{`[["remote_addr","ipmatch",[""]]]`, "invalid ip address: "},
		{`[["remote_addr","ipmatch","10.0.0.0/33"]]`, "invalid ip address: 10.0.0.0/33"},
		{`[["http_ip","ipmatch",["127.0.0.1","x"]]]`, "invalid ip address: x"},
		{`[["http_ip","ipmatch",[5]]]`, "invalid ip address: 5"},
	} {
		e, err := Compile([]byte(c.raw))
		if err == nil || err.Error() != c.want {
			t.Errorf("Compile(%s) = %v, %v; want error %q", c.raw, e, err, c.want)
		}
	}
	for _, c := range []struct{ raw, prefix string }{
		{`[["arg_a","~~","("]]`, "invalid regular expression '(': "},
		{`[["arg_a","~~","(?=a)\\Kb"]]`, `invalid regular expression '(?=a)\Kb': \K is not supported`},
		{`[["arg_a","~~",["a"]]]`, "invalid expression: "},
		{`[["arg_a","~~",null]]`, "invalid expression: "},
		{`[["post_arg.a..b","==","1"]]`, "invalid expression: variable post_arg.a..b: "},
		{`[["arg_a","==","1"]`, "invalid expression: "},
		{`[] []`, "invalid expression: "},
	} {
		if e, err := Compile([]byte(c.raw)); err == nil || !strings.HasPrefix(err.Error(), c.prefix) {
			t.Errorf("Compile(%s) = %v, %v; want error %q...", c.raw, e, err, c.prefix)
		}
	}
}

func TestCompileEmpty(t *testing.T) {
	for _, raw := range []string{``, `[]`, `{}`, ` [ ] `} {
		if e := mustCompile(t, raw); e.Match != nil || e.ReadsBody {
			t.Errorf("Compile(%q) = %+v; want the empty expression", raw, e)
		}
	}
}

func TestMatch(t *testing.T) {
	x := newExchange(t, `GET /shop/7?v=2&n=10&e=&flag&hex=0x1F&exp=1e2&blank=%20%20%205%20&text=Chrome%2F1&ip=10.1.2.3 HTTP/1.1
Host: Shop.Example.com:9080
X-Env: prod
X-Forwarded: a
X_Forwarded: b
Cookie: a=1; session=abc`)
	for _, c := range []struct {
		raw  string
		want bool
	}{
		{`[["arg_v","==","2"]]`, true},
		{`[["arg_v","2"]]`, true},
		{`[["http_x_env","PROD"]]`, false},
		{`[["arg_v",2]]`, true},
		{`[["arg_v","==",2]]`, true},
		{`[["arg_v","==",2.0]]`, true},
		{`[["arg_v","==","2.0"]]`, false},
		{`[["arg_v","~=","2"]]`, false},
		{`[["arg_v","~=",2.0]]`, false},
		{`[["arg_text","~=",2]]`, true},
		{`[["arg_text","==",2]]`, false},
		{`[["arg_v","==",true]]`, false},
		{`[["arg_v","~=",true]]`, true},
		{`[["arg_v","==",["2"]]]`, false},

		{`[["arg_no","==","2"]]`, false},
		{`[["arg_no","~=","2"]]`, true},
		{`[["arg_no","~=",2]]`, true},
		{`[["arg_no","==",null]]`, true},
		{`[["arg_no","~=",null]]`, false},
		{`[["arg_v","==",null]]`, false},
		{`[["arg_v","~=",null]]`, true},
		{`[["arg_no","=="]]`, true},
		{`[["arg_v",null]]`, false},
		{`[["arg_no",">",1]]`, false},
		{`[["arg_no","!",">",1]]`, true},
		{`[["arg_no","!","in",["1"]]]`, true},
		{`[["arg_no","~~",".*"]]`, false},
		{`[["arg_no","!","~~",".*"]]`, true},
		{`[["arg_no","has","1"]]`, false},
		{`[["arg_no","ipmatch","0.0.0.0/0"]]`, false},
		{`[["arg_no","!","ipmatch","0.0.0.0/0"]]`, true},
		{`[["arg_e","==",""]]`, true},
		{`[["arg_flag","==",""]]`, true},

		{`[["arg_n",">",9]]`, true},
		{`[["arg_n",">","9"]]`, true},
		{`[["arg_n",">",10]]`, false},
		{`[["arg_n",">=",10]]`, true},
		{`[["arg_n","<",10.5]]`, true},
		{`[["arg_n","<=","1e1"]]`, true},
		{`[["arg_n",">","x"]]`, false},
		{`[["arg_n","<","x"]]`, false},
		{`[["arg_n",">",null]]`, false},
		{`[["arg_text",">","A"]]`, false},
		{`[["arg_hex","==",31]]`, true},
		{`[["arg_exp","==",100]]`, true},
		{`[["arg_blank","==",5]]`, true},
		{`[["arg_blank","!","==",5]]`, false},

		{`[["arg_text","~~","^Chrome"]]`, true},
		{`[["arg_text","~~","chrome"]]`, false},
		{`[["arg_text","~*","chrome"]]`, true},
		{`[["arg_text","!","~*","chrome"]]`, false},
		{`[["arg_v","~~",2]]`, true},
		{`[["arg_text","~~","^(?!Fire)\\w+"]]`, true},
		{`[["arg_text","~*","^(?!chrome)"]]`, false},

		{`[["arg_v","in",["1","2"]]]`, true},
		{`[["arg_v","IN",["1","3"]]]`, false},
		{`[["arg_v","in",[1,2]]]`, false},
		{`[["arg_v","in","2"]]`, false},
		{`[["arg_v","in",null]]`, false},
		{`[["arg_v","in",["a","b","c","d","e","f","g","h","i","2"]]]`, true},
		{`[["arg_v","in",["a","b","c","d","e","f","g","h","i","3"]]]`, false},
		{`[["arg_v","has","2"]]`, false},

		{`[["arg_ip","ipmatch","10.0.0.0/8"]]`, true},
		{`[["arg_ip","IpMatch",["192.0.2.0/24","10.1.2.3"]]]`, true},
		{`[["arg_ip","ipmatch",["192.0.2.0/24"]]]`, false},
		{`[["arg_text","ipmatch",["0.0.0.0/0"]]]`, false},
		{`[["remote_addr","ipmatch","192.0.2.0/24"]]`, true},
		{`[["remote_addr","!","ipmatch",["192.0.2.0/24"]]]`, false},
		{`[["remote_addr","ipmatch",["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4","1.1.1.5","1.1.1.6","1.1.1.7","::1","192.0.2.0/24"]]]`, true},
		{`[["remote_addr","ipmatch",["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4","1.1.1.5","1.1.1.6","1.1.1.7","::1","192.0.3.0/24"]]]`, false},

		{`[["host","==","shop.example.com"],["http_x_env","==","prod"]]`, true},
		{`[["host","==","shop.example.com"],["http_x_env","==","test"]]`, false},
		{`[["http_X-Env","==","prod"]]`, true},
		{`[["http_x_forwarded","==","a, b"]]`, true},
		{`[["cookie_session","==","abc"]]`, true},
		{`[["cookie_Session","==","abc"]]`, false},
		{`["AND",["arg_v","==","2"],["arg_n","==","10"]]`, true},
		{`["and",["arg_v","==","2"],["arg_n","==","11"]]`, false},
		{`["OR",["arg_v","==","3"],["arg_n","==","10"]]`, true},
		{`["OR",["arg_v","==","3"],["arg_n","==","11"]]`, false},
		{`["!AND",["arg_v","==","2"],["arg_n","==","10"]]`, false},
		{`["!AND",["arg_v","==","2"],["arg_n","==","11"]]`, true},
		{`["!or",["arg_v","==","3"],["arg_n","==","11"]]`, true},
		{`["!OR",["arg_v","==","3"],["arg_n","==","10"]]`, false},
		{`[["arg_v","==","2"],["OR",["arg_n","==","1"],["!AND",["uri","==","/x"],["uri","==","/y"]]]]`, true},
		{`[[["arg_v","==","2"],["arg_n","==","10"]],["uri","==","/shop/7"]]`, true},
		{`[[["arg_v","==","2"],["arg_n","==","11"]],["uri","==","/shop/7"]]`, false},
		{`[["arg_v","==","2","ignored","too"]]`, true},
	} {
		if got := mustCompile(t, c.raw).Match(x); got != c.want {
			t.Errorf("%s = %v; want %v", c.raw, got, c.want)
		}
	}
}

func TestReadsBody(t *testing.T) {
	for raw, want := range map[string]bool{
		`[["arg_a","==","1"],["http_b","==","2"]]`:                                 false,
		`[["post_arg_a","==","1"]]`:                                                true,
		`[["post_arg.a.b","==","1"]]`:                                              true,
		`[["OR",["arg_a","==","1"],["AND",["uri","/"],["graphql_name","a"]]]]`:     true,
		`[["graphql_root_fields","has","owner"]]`:                                  true,
		`[["graphql_other","==","1"]]`:                                             false,
		`[["!OR",["arg_a","==","1"],["uri","==","/"]],["post_argument","==","a"]]`: false,
	} {
		if got := mustCompile(t, raw).ReadsBody; got != want {
			t.Errorf("ReadsBody of %s = %v; want %v", raw, got, want)
		}
	}
}

// TestExamples runs the routing cases with `vars` that were executed on APISIX's own router: the first route whose vars hold
// is the one that matches.
func TestExamples(t *testing.T) {
	file, err := os.Open("testdata/vars.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cases := 0
	for lines := bufio.NewScanner(file); lines.Scan(); cases++ {
		var c struct {
			Title, Expect string
			Request       struct {
				Host, URI string
				Vars      map[string]string
			}
			Routes []struct {
				ID   string
				Vars json.RawMessage
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		query, header := url.Values{}, ""
		for name, value := range c.Request.Vars {
			if arg, ok := strings.CutPrefix(name, "arg_"); ok {
				query.Set(arg, value)
			} else {
				header += strings.TrimPrefix(name, "http_") + ": " + value + "\n"
			}
		}
		x := newExchange(t, "GET "+c.Request.URI+"?"+query.Encode()+" HTTP/1.1\nHost: "+c.Request.Host+"\n"+header)
		got := "404"
		for _, route := range c.Routes {
			if holds(mustCompile(t, string(route.Vars)), x) {
				got = route.ID
				break
			}
		}
		if got != c.Expect {
			t.Errorf("%s: %s with %v: got %s; want %s", c.Title, lines.Text(), c.Request.Vars, got, c.Expect)
		}
	}
	if cases == 0 {
		t.Fatal("no cases")
	}
}

func TestMatchAllocates(t *testing.T) {
	x := newExchange(t, "GET /a/b?v=2&ip=10.1.2.3 HTTP/1.1\nHost: h.example\nX-Env: prod\nUser-Agent: Chrome/1\nCookie: s=abc")
	for _, raw := range []string{
		`[["arg_v","==","2"],["http_x_env","==","prod"],["cookie_s","==","abc"]]`,
		`[["arg_v","==",2],["arg_v","<",3],["arg_v","~=",3]]`,
		`[["http_user_agent","~*","^chrome"]]`,
		`[["arg_v","in",["a","b","c","d","e","f","g","h","2"]]]`,
		`[["arg_ip","ipmatch",["10.0.0.0/8"]],["remote_addr","ipmatch","192.0.2.7"]]`,
		`["OR",["uri","==","/x"],["host","==","x"],["request_method","==","POST"],["scheme","==","http"]]`,
		`[["arg_no","!","==","1"],["server_port","==","9080"],["server_addr","==","10.0.0.1"],["remote_addr","==","192.0.2.7"]]`,
		`[["status","==","000"],["custom","==",null],["uri_param_id","==",null]]`,
	} {
		match := mustCompile(t, raw).Match
		if !match(x) {
			t.Errorf("%s is false", raw)
		}
		if n := testing.AllocsPerRun(100, func() { match(x) }); n != 0 {
			t.Errorf("%s allocates %v times", raw, n)
		}
	}
}
