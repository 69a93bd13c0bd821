// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"encoding/json"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

func exchange() *gateway.Exchange {
	x := new(gateway.Exchange)
	x.Request.Client = netip.MustParseAddrPort("192.0.2.7:1")
	x.Request.Query = "n=12&empty=&text=ab"
	x.Request.Header.Add("X-User", "jack")
	return x
}

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		text     string
		low      int64
		want     int64
		ok       bool
		constant bool
	}{
		{`5`, 1, 5, true, true},
		{`5.0`, 1, 5, true, true},
		{`"5"`, 1, 5, true, true},
		{`" 5 "`, 1, 5, true, true},
		{`"5e2"`, 1, 500, true, true},
		{`"0"`, 0, 0, true, true},
		{`"0"`, 1, 0, false, true},
		{`"-1"`, 0, 0, false, true},
		{`"1.5"`, 1, 0, false, false},
		{`"9007199254740991"`, 1, 1<<53 - 1, true, true},
		{`"9007199254740992"`, 1, 0, false, false},
		{`"99999999999999999999"`, 1, 0, false, false},
		{`"nan"`, 1, 0, false, false},
		{`"five"`, 1, 0, false, false},
		{`""`, 1, 0, false, false},
		{`"$arg_n"`, 1, 12, true, false},
		{`"${arg_n}0"`, 1, 120, true, false},
		{`"$arg_text"`, 1, 0, false, false},
		{`"$arg_absent"`, 1, 0, false, false},
		{`"$arg_empty"`, 0, 0, false, false},
	} {
		var n Number
		if err := json.Unmarshal([]byte(c.text), &n); err != nil {
			t.Fatal(err)
		}
		got, ok := n.Of(exchange(), c.low)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: got %d, %v; want %d, %v", c.text, got, ok, c.want, c.ok)
		}
		if _, constant := n.Constant(); constant != c.constant {
			t.Errorf("%s: constant %v, want %v", c.text, constant, c.constant)
		}
	}
}

func TestKeyer(t *testing.T) {
	for _, c := range []struct {
		kind, key, want string
		ok              bool
	}{
		{"var", "http_x_user", "jack", true},
		{"var", "arg_empty", "", true},
		{"var", "arg_absent", "192.0.2.7", false},
		{"var", "remote_addr", "192.0.2.7", true},
		{"var_combination", "$http_x_user-$arg_n", "jack-12", true},
		{"var_combination", "$http_x_user-$arg_absent", "jack-", true},
		{"var_combination", "x$arg_absent", "192.0.2.7", false},
		{"var_combination", "text", "192.0.2.7", false},
		{"constant", "http_x_user", "http_x_user", true},
	} {
		x, k := exchange(), NewKeyer(c.kind, c.key)
		if got := string(k.AppendOrClient(nil, x)); got != c.want {
			t.Errorf("%s %s: got %q, want %q", c.kind, c.key, got, c.want)
		}
		if _, ok := k.Append(nil, x); ok != c.ok {
			t.Errorf("%s %s: there %v, want %v", c.kind, c.key, ok, c.ok)
		}
	}
}

func TestSeconds(t *testing.T) {
	for _, c := range []struct {
		ns   int64
		want string
	}{
		{0, "0"},
		{-5, "0"},
		{1, "0.01"},
		{int64(10 * time.Millisecond), "0.01"},
		{int64(10*time.Millisecond) + 1, "0.02"},
		{int64(100 * time.Millisecond), "0.1"},
		{int64(time.Minute), "60"},
		{int64(59990 * time.Millisecond), "59.99"},
		{int64(59991 * time.Millisecond), "60"},
		{int64(12500 * time.Millisecond), "12.5"},
		{math.MaxInt64, "9223372036.86"},
	} {
		if got := string(appendSeconds(nil, c.ns)); got != c.want {
			t.Errorf("%d: got %s, want %s", c.ns, got, c.want)
		}
	}
}

// TestScratch: texts stay as they are when their scratch is used again, and cost an allocation in hundreds.
func TestScratch(t *testing.T) {
	var texts []string
	for i := range 3000 {
		s := Borrow()
		texts = append(texts, s.Integer(int64(i)), s.Seconds(int64(i)*int64(time.Second)))
		s.Return()
	}
	for i := range 3000 {
		if texts[2*i] != texts[2*i+1] || len(texts[2*i]) > 4 || texts[2*i][0] == 0 {
			t.Fatalf("%d: %q and %q", i, texts[2*i], texts[2*i+1])
		}
	}
	if n := testing.AllocsPerRun(1000, func() {
		s := Borrow()
		s.Bytes = append(s.Bytes, "some text"...)
		s.Integer(1234)
		s.Seconds(12_340_000_000)
		s.Return()
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestRejection(t *testing.T) {
	for message, want := range map[string]string{"": "", `a "b" <c>`: `{"error_msg":"a \"b\" <c>"}` + "\n"} {
		r, err := NewRejection(429, message)
		x := exchange()
		if err != nil || r.Exit(x) != gateway.Exit || x.Response.Status != 429 || string(x.Response.Body) != want {
			t.Errorf("%q: got %d %q (%v)", message, x.Response.Status, x.Response.Body, err)
		}
	}
}

// TestOwned: a scope changes with the owner and with the config, but not with how Redis is logged in to, which is not in it.
func TestOwned(t *testing.T) {
	const config = `{"count":1,"redis_host":"h","redis_password":"secret-1"}`
	owned := func(owner, config string) string {
		return Owned(gateway.Env{Owner: owner}, json.RawMessage(config))
	}
	scope := owned("/apisix/routes/1", config)
	if !strings.HasPrefix(scope, "/apisix/routes/1:") || strings.Contains(scope, "secret") {
		t.Errorf("scope %q", scope)
	}
	for changed, same := range map[string]bool{
		owned("/apisix/routes/1", `{"redis_password":"secret-2", "count": 1,"redis_host":"h"}`): true,
		owned("/apisix/routes/2", config):                                 false,
		owned("/apisix/routes/1", strings.Replace(config, ":1", ":2", 1)): false,
	} {
		if (changed == scope) != same {
			t.Errorf("%q and %q: want same %v", changed, scope, same)
		}
	}
}

func TestClock(t *testing.T) {
	x := exchange()
	x.Start = time.Unix(1_700_000_000, 5)
	if got := Now(x); got != 1_700_000_000_000_000_005 {
		t.Errorf("got %d", got)
	}
	if d := Clock() - time.Now().UnixNano(); d < -int64(time.Minute) || d > int64(time.Minute) {
		t.Errorf("the clock is off by %v", time.Duration(d))
	}
}
