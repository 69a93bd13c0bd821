// SPDX-License-Identifier: Apache-2.0

package csrf

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"key":"k","expires":1,"name":"t"}`, ""},
		{`{"key":"k","expires":0}`, ""},
		{`{}`, `property "key" is required`},
		{`{"key":"k","expires":1.5}`, `property "expires" validation failed: wrong type: expected integer, got number`},
		{`{"key":"k","name":"a b"}`, `property "name" validation failed: "a b" can name neither a field nor a cookie`},
	})
}

func compiled(t testing.TB, config string) *guard {
	t.Helper()
	instance, err := plugintest.Compile(t, name, config)
	if err != nil {
		t.Fatal(err)
	}
	return instance.(*guard)
}

// forge makes a token of text that is put in as it is, signed as APISIX signs.
func forge(random, issued, signedRandom, signedIssued, key string) string {
	sum := sha256.Sum256([]byte("{expires:" + signedIssued + ",random:" + signedRandom + ",key:" + key + "}"))
	text := `{"expires":` + issued + `,"sign":"` + hex.EncodeToString(sum[:]) + `","random":` + random + `}`
	return base64.StdEncoding.EncodeToString([]byte(text))
}

func TestVerify(t *testing.T) {
	g, forever := compiled(t, `{"key":"k","expires":10}`), compiled(t, `{"key":"k","expires":0}`)
	const now = 1_700_000_000
	issued := strconv.Itoa(now)
	for what, c := range map[string]struct {
		token       string
		ok, forever bool
	}{
		"issued now":           {g.issue(now), true, true},
		"issued 10 s ago":      {g.issue(now - 10), true, true},
		"issued 11 s ago":      {g.issue(now - 11), false, true},
		"APISIX's":             {forge("0.68897230883543", issued, "0.68897230883543", issued, "k"), true, true},
		"other key":            {forge("0.5", issued, "0.5", issued, "x"), false, false},
		"other time":           {forge("0.5", strconv.Itoa(now+5), "0.5", issued, "k"), false, false},
		"other random":         {forge("0.6", issued, "0.5", issued, "k"), false, false},
		"moved boundary":       {forge(`"0.5,random:1"`, issued, "0.5,random:1", issued, "k"), false, false},
		"no random":            {forge(`null`, issued, "", issued, "k"), false, false},
		"time is text":         {forge(`0.5`, `"x"`, "0.5", "x", "k"), false, false},
		"time is a fraction":   {forge(`0.5`, `1.5`, "0.5", "1.5", "k"), false, false},
		"no base64":            {"%%%", false, false},
		"no JSON":              {base64.StdEncoding.EncodeToString([]byte("{")), false, false},
		"empty":                {"", false, false},
		"signature left out":   {base64.StdEncoding.EncodeToString([]byte(`{"random":0.5,"expires":` + issued + `}`)), false, false},
		"signature is a table": {base64.StdEncoding.EncodeToString([]byte(`{"random":0.5,"expires":` + issued + `,"sign":{}}`)), false, false},
	} {
		if got := g.verify(c.token, now); got != c.ok {
			t.Errorf("%s: got %v, want %v", what, got, c.ok)
		}
		if got := forever.verify(c.token, now); got != c.forever {
			t.Errorf("%s, for ever: got %v, want %v", what, got, c.forever)
		}
	}
}

// TestFraction: Lua writes the number with the same digits, or its signature would be another.
func TestFraction(t *testing.T) {
	for _, random := range []uint64{0, 1, 1 << 63, ^uint64(0), 8_999_999_999_999} {
		text := fraction(random)
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || strconv.FormatFloat(f, 'g', 14, 64) != text || len(text) != 16 {
			t.Errorf("%d: %q is not what Lua writes of it (%v)", random, text, err)
		}
	}
}

// TestRoundTrip takes the token of a response back.
func TestRoundTrip(t *testing.T) {
	g := compiled(t, `{"key":"k"}`)
	x := plugintest.Open(t, `{"csrf":{"key":"k"},"client-end":{}}`)
	if x.Run(nil) != gateway.StepReply {
		t.Fatal("the request is forwarded")
	}
	form := regexp.MustCompile(`^apisix-csrf-token=([^;]+);path=/;SameSite=Lax;Expires=(\w{3}, \d\d-\w{3}-\d\d \d\d:\d\d:\d\d GMT)$`)
	parts := form.FindStringSubmatch(x.Response.Header.Get("Set-Cookie"))
	if parts == nil || !g.verify(parts[1], time.Now().Unix()) {
		t.Fatalf("got cookie %q, want a good one", x.Response.Header.Get("Set-Cookie"))
	}
	if _, err := time.Parse(cookieTime, parts[2]); err != nil {
		t.Error(err)
	}
	token := strings.Clone(parts[1])
	post := func(x *gateway.Exchange) {
		x.Request.Method = "POST"
		x.Request.Header.Add("Apisix-CSRF-Token", token)
		x.Request.Header.Add("Cookie", "a=b; apisix-csrf-token="+token)
	}
	if x.Run(post); x.Response.Status != 204 {
		t.Errorf("got status %d, want the request let through", x.Response.Status)
	}
	token = g.issue(0)
	if x.Run(post); x.Response.Status != 401 || string(x.Response.Body) != `{"error_msg":"Failed to verify the csrf token signature"}`+"\n" {
		t.Errorf("old token: got status %d, body %s", x.Response.Status, x.Response.Body)
	}
	endless := plugintest.Open(t, `{"csrf":{"key":"k","expires":0,"name":"t"},"client-end":{}}`)
	endless.Run(nil)
	if cookie := endless.Response.Header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "t=") || !strings.HasSuffix(cookie, ";path=/;SameSite=Lax") {
		t.Errorf("got cookie %q, want one that does not expire", cookie)
	}
}

// end answers what reaches it.
type end struct{}

func (end) Access(x *gateway.Exchange) gateway.Verdict { return x.Exit(204, nil) }

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: "client-end", Schema: []byte(`{"type":"object"}`), New: func(gateway.Env, json.RawMessage) (any, error) { return end{}, nil },
	})
}

func BenchmarkCSRF(b *testing.B) {
	g := compiled(b, `{"key":"k"}`)
	now := time.Now().Unix()
	b.Run("issue", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			g.issue(now)
		}
	})
	b.Run("verify", func(b *testing.B) {
		token := g.issue(now)
		b.ReportAllocs()
		for b.Loop() {
			if !g.verify(token, now) {
				b.Fatal("refused")
			}
		}
	})
}
