// SPDX-License-Identifier: Apache-2.0

package hmacauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

// consumers returns a gateway with a route for 1 000 consumers, "c0" with the key "secret-0" and so on.
func consumers(t testing.TB, config string) *gateway.Gateway {
	t.Helper()
	objects := []gateway.Object{{
		Kind: gateway.Routes, ID: "1",
		Value: json.RawMessage(`{"id":"1","uri":"/*","plugins":{"hmac-auth":` + config + `},"upstream":{"nodes":{"127.0.0.1:1":1}}}`),
	}}
	for i := range 1000 {
		objects = append(objects, gateway.Object{
			Kind: gateway.Consumers, ID: fmt.Sprintf("c%d", i),
			Value: json.RawMessage(fmt.Sprintf(`{"username":"c%d","plugins":{"hmac-auth":{"key_id":"c%[1]d","secret_key":"secret-%[1]d"}}}`, i)),
		})
	}
	return gatewaytest.Open(t, objects...)
}

// sign returns what a client sends as Authorization who signs these lines with hmac-sha256.
func sign(id, key, headers string, lines ...string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(id + "\n" + strings.Join(append(lines, ""), "\n")))
	return fmt.Sprintf(`Signature keyId=%q,algorithm="hmac-sha256",headers=%q,signature=%q`,
		id, headers, base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// authenticate takes an exchange for target through its hooks up to where it would be forwarded.
func authenticate(t testing.TB, g *gateway.Gateway, x *gateway.Exchange, target string, at time.Time, fields ...string) gateway.Step {
	x.Request.Method, x.Request.Host, x.Request.RawHost = "GET", "h", "h"
	if err := x.Request.SetTarget(target); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		x.Request.Header.Add(fields[i], fields[i+1])
	}
	x.Start = at
	g.Begin(x, nil)
	step := x.Next(false)
	if step == gateway.StepReply {
		x.FilterHeader()
	}
	x.Finish()
	x.Reset()
	return step
}

// TestClockSkew: Date may be that much off, to either side, and has to be there.
func TestClockSkew(t *testing.T) {
	now := time.Unix(2_000_000_000, 0)
	g := consumers(t, `{"clock_skew":30}`)
	for seconds, want := range map[int]gateway.Step{
		0: gateway.StepForward, 30: gateway.StepForward, -30: gateway.StepForward, 31: gateway.StepReply, -31: gateway.StepReply,
		1 << 40: gateway.StepReply, -(1 << 40): gateway.StepReply,
	} {
		date := now.Add(time.Duration(seconds) * time.Second).UTC().Format(http.TimeFormat)
		got := authenticate(t, g, new(gateway.Exchange), "/a", now.Add(999*time.Millisecond),
			"Date", date, "Authorization", sign("c1", "secret-1", "date", "date: "+date))
		if got != want {
			t.Errorf("%d s off: got step %v, want %v", seconds, got, want)
		}
	}
	for _, date := range []string{"", "yesterday", "2033-05-18T03:33:20Z"} {
		if got := authenticate(t, g, new(gateway.Exchange), "/a", now,
			"Date", date, "Authorization", sign("c1", "secret-1", "date", "date: "+date)); got != gateway.StepReply {
			t.Errorf("%q: got step %v", date, got)
		}
	}
	date := now.UTC().Format(http.TimeFormat)
	if got := authenticate(t, g, new(gateway.Exchange), "/a", now, "Authorization", sign("c1", "secret-1", "date")); got != gateway.StepReply {
		t.Errorf("no Date: got step %v", got)
	}
	if got := authenticate(t, g, new(gateway.Exchange), "/a", now, "Date", date, "date", date,
		"Authorization", sign("c1", "secret-1", "date", "date: "+date)); got != gateway.StepReply {
		t.Errorf("two Dates: got step %v", got)
	}
}

// TestTargets: whichever spelling of the target a client has signed, it is that of the request, and of no other.
func TestTargets(t *testing.T) {
	now := time.Unix(2_000_000_000, 0)
	date := now.UTC().Format(http.TimeFormat)
	g := consumers(t, `{}`)
	for _, c := range []struct {
		target, signed string
		want           gateway.Step
	}{
		{"/a", "/a", gateway.StepForward},
		{"/a?b=1&c", "/a?b=1&c", gateway.StepForward},
		{"/a?b=1", "/a", gateway.StepReply},
		{"/a", "/b", gateway.StepReply},
		{"/a%20b?c=%20", "/a%20b?c=%20", gateway.StepForward},
		{"/a%20b?c=%20", "/a b?c=%20", gateway.StepForward},
		{"/a%20b", "/a+b", gateway.StepReply},
		{"/x/..//a", "/a", gateway.StepForward},
		{"/x/..//a", "/x/..//a", gateway.StepForward},
		{"/a%7e", "/a~", gateway.StepForward},
		{"/a%7e", "/a%7e", gateway.StepForward},
		{"/a%2fb", "/a%2Fb", gateway.StepForward},
		{"/a%0Adate:%20" + strings.ReplaceAll(date, " ", "%20"), "/a\ndate: " + date, gateway.StepReply},
	} {
		got := authenticate(t, g, new(gateway.Exchange), c.target, now, "Date", date,
			"Authorization", sign("c1", "secret-1", "@request-target date", "GET "+c.signed, "date: "+date))
		if got != c.want {
			t.Errorf("%s signed as %q: got step %v, want %v", c.target, c.signed, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		field string
		want  params
		ok    bool
	}{
		{`Signature keyId="a",signature="c"`, params{keyID: "a", signature: "c"}, true},
		{`signature  signature="c=" , keyId="a", x="y",headers="d e",algorithm="b"`, params{"a", "b", "c=", "d e"}, true},
		{`Signature keyId="a"`, params{}, false},
		{`Signature signature="a"`, params{}, false},
		{`Signature keyId="a",signature="c",keyId="b"`, params{}, false},
		{`Signature keyId="a",signature="c",`, params{}, false},
		{`Signature keyId="a" signature="c"`, params{}, false},
		{`Signature keyId=a,signature=c`, params{}, false},
		{`Signature keyId="a",signature="c`, params{}, false},
		{`SignaturekeyId="a",signature="c"`, params{}, false},
		{`Signature`, params{}, false},
		{`Signature `, params{}, false},
		{`Bearer keyId="a",signature="c"`, params{}, false},
	} {
		got, ok := parse(c.field)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: got %+v, %v", c.field, got, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`Signature keyId="a",algorithm="b",headers="d e",signature="c="`)
	f.Fuzz(func(t *testing.T, field string) {
		p, ok := parse(field)
		if !ok {
			return
		}
		again, ok := parse(fmt.Sprintf(`Signature keyId="%s",algorithm="%s",headers="%s",signature="%s"`, p.keyID, p.algorithm, p.headers, p.signature))
		if !ok && p.algorithm != "" && p.headers != "" || ok && again != p {
			t.Errorf("%q: got %+v, then %+v", field, p, again)
		}
	})
}

func TestReference(t *testing.T) {
	_, compiled, err := compileCredential(gateway.Env{}, json.RawMessage(`{"key_id":"k","secret_key":"$env://NOT_THERE"}`))
	if err != nil || compiled.(*credential).signed(new(gateway.Exchange), &params{keyID: "k"}, 1) {
		t.Errorf("the name of a secret signs (%v)", err)
	}
}

func TestAllocs(t *testing.T) {
	now := time.Unix(2_000_000_000, 0)
	date := now.UTC().Format(http.TimeFormat)
	g := consumers(t, `{}`)
	x := new(gateway.Exchange)
	field := sign("c500", "secret-500", "@request-target host date", "GET /a?b=1", "host: h", "date: "+date)
	once := func() gateway.Step {
		return authenticate(t, g, x, "/a?b=1", now, "Date", date, "Authorization", field)
	}
	if got := once(); got != gateway.StepForward {
		t.Fatalf("got step %v", got)
	}
	if n := plugintest.Allocs(func() { once() }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkHMACAuth(b *testing.B) {
	now := time.Unix(2_000_000_000, 0)
	date := now.UTC().Format(http.TimeFormat)
	g := consumers(b, `{}`)
	x := new(gateway.Exchange)
	for name, key := range map[string]string{"signed": "secret-500", "forged": "x"} {
		field := sign("c500", key, "@request-target date", "GET /a?b=1", "date: "+date)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				authenticate(b, g, x, "/a?b=1", now, "Date", date, "Authorization", field)
			}
		})
	}
}
