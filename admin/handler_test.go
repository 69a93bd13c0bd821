// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

const plainRoute = `{"uri":"/a","upstream":{"nodes":{"a:1":1}}}`

func TestAnswersComeWithTheirFields(t *testing.T) {
	a := newAPI(t)
	for _, c := range []struct {
		method, path, body         string
		status                     int
		version, contentType, text string
	}{
		{"HEAD", "/apisix/admin", "", 200, "", "", ""},
		{"GET", "/apisix/admin", "", 404, "", "text/html; charset=utf-8", "404 Not Found"},
		{"GET", "/apisix/adminfoo", "", 404, "", "text/html; charset=utf-8", "404 Not Found"},
		{"GET", "/other", "", 404, "", "text/html; charset=utf-8", "404 Not Found"},
		{"TRACE", "/apisix/admin/routes", "", 404, "", "text/html; charset=utf-8", "404 Not Found"},
		{"HEAD", "/apisix/admin/routes", "", 404, "", "text/html; charset=utf-8", ""},
		{"GET", "/apisix/admin/routes", "", 200, "v3", "application/json", `{"total":0,"list":[]}` + "\n"},
		{"GET", "/apisix/admin/routes/", "", 200, "v3", "application/json", `{"total":0,"list":[]}` + "\n"},
		{"PUT", "/apisix/admin/routes/1", plainRoute, 201, "v3", "application/json", ""},
		{"GET", "/apisix/admin/routes/1", "", 200, "v3", "application/json", ""},
		{"GET", "/apisix/admin/routes/1/", "", 200, "v3", "application/json", ""},
		{"GET", "/apisix/admin/routes/2", "", 404, "v3", "application/json", ""},
		{"GET", "/apisix/admin/bogus", "", 404, "", "application/json", ""},
		{"PUT", "/apisix/admin/routes/1", "{", 400, "", "application/json", ""},
		{"POST", "/apisix/admin/consumers", "{}", 405, "v3", "application/json", ""},
		{"GET", "/apisix/admin/plugins/list", "", 200, "", "application/json", ""},
		{"GET", "/apisix/admin/plugins/list?subsystem=tcp", "", 400, "", "application/json", "invalid subsystem passed"},
		{"GET", "/apisix/admin/plugins/list?subsystem=stream", "", 200, "", "application/json", `["ip-restriction","limit-conn","mqtt-proxy","traffic-split"]` + "\n"},
		{"PUT", "/apisix/admin/plugins/reload", "", 200, "", "application/json", "done"},
		{"GET", "/apisix/admin/plugins", "", 404, "v3", "application/json", ""},
		{"GET", "/apisix/admin/schema/route", "", 200, "v3", "application/json", ""},
		{"GET", "/apisix/admin/routes?page=1&page_size=9", "", 400, "v3", "application/json", "page_size must be between 10 and 500"},
	} {
		w := a.call(c.method, c.path, c.body)
		h := w.Header()
		if w.Code != c.status || h.Get("Server") != "APISIX/3.18.0" || h.Get("X-Api-Version") != c.version ||
			h.Get("Content-Type") != c.contentType || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("%s %s: got %d %v %s", c.method, c.path, w.Code, h, w.Body)
		}
	}
}

func TestBodyLimits(t *testing.T) {
	a := newAPI(t)
	blank := func(n int) string { return plainRoute + strings.Repeat(" ", n-len(plainRoute)) }
	if w := a.call("PUT", prefix+"/routes/1", blank(maxBody)); w.Code != 201 {
		t.Errorf("the longest body: %d %s", w.Code, w.Body)
	}
	a.want("PUT", prefix+"/routes/2", blank(maxBody+1), 400,
		`{"error_msg":"invalid request body: request size 1572865 is greater than the maximum size 1572864 allowed"}`)
	a.want("PUT", prefix+"/routes/2", blank(2<<20), 400,
		`{"error_msg":"invalid request body: request size 2097152 is greater than the maximum size 1572864 allowed"}`)
	a.want("PUT", prefix+"/routes/2", `{"uri" "x"}`, 400,
		`{"error_msg":"invalid request body: Expected colon but found T_STRING at character 8","req_body":"{\"uri\" \"x\"}"}`)
	if w := a.call("PUT", prefix+"/routes/2", strings.Repeat(`{"a":`, 5000)); w.Code != 400 ||
		!strings.Contains(w.Body.String(), "Found too many nested data structures (1001)") {
		t.Errorf("a deep body: %d %.100s", w.Code, w.Body)
	}
	if w := a.call("GET", prefix+"/routes/2", ""); w.Code != 404 {
		t.Errorf("something is stored: %s", w.Body)
	}
}

func TestBadIDs(t *testing.T) {
	const badID = `{"error_msg":"invalid configuration: property \"id\" validation failed: object matches none of the required"}`
	a := newAPI(t)
	a.put("/consumers/jack", `{"username":"jack"}`)
	revision := a.gateway.Table().Revision()
	secret := `{"uri":"http://a","prefix":"p","token":"t"}`
	for _, c := range []struct{ path, body, want string }{
		{"/routes/a%2Fb", plainRoute, badID},
		{"/routes/a%00b", plainRoute, badID},
		{"/routes/a/b", plainRoute, badID},
		{"/routes/a%20b", plainRoute, badID},
		{"/routes/%C3%A9", plainRoute, badID},
		{"/routes/" + strings.Repeat("a", 65), plainRoute, badID},
		{"/routes", `{"id":"a/b","uri":"/a","upstream":{"nodes":{"a:1":1}}}`, badID},
		{"/routes", `{"id":"a\u0000b","uri":"/a","upstream":{"nodes":{"a:1":1}}}`, badID},
		{"/routes", `{"id":true,"uri":"/a","upstream":{"nodes":{"a:1":1}}}`, badID},
		{"/routes", `{"id":1.5,"uri":"/a","upstream":{"nodes":{"a:1":1}}}`, badID},
		{"/routes", `{"id":1e300,"uri":"/a","upstream":{"nodes":{"a:1":1}}}`, badID},
		{"/routes", `{"id":-1,"uri":"/a","upstream":{"nodes":{"a:1":1}}}`, strings.TrimSuffix(badID, "}") +
			`,"errors":[{"pointer":"/id","message":"object matches none of the required","value":-1}]}`},
		{"/routes", plainRoute, `{"error_msg":"missing route id"}`},
		{"/routes/1", `{"id":"2","uri":"/a","upstream":{"nodes":{"a:1":1}}}`, `{"error_msg":"wrong route id"}`},
		{"/routes/1", `{"id":null,"uri":"/a","upstream":{"nodes":{"a:1":1}}}`, `{"error_msg":"wrong route id"}`},
		{"/secrets/vault/a%2Fb", secret, badID},
		{"/secrets/vault/a/b", secret, badID},
		{"/secrets/bogus/1", secret, `{"error_msg":"invalid secret manager: bogus"}`},
		{"/secrets/vault", secret, `{"error_msg":"missing secret id"}`},
		{"/secrets", secret, `{"error_msg":"missing secret id"}`},
		{"/consumers/jack/credentials/a%2Fb", `{"plugins":{}}`, badID},
		{"/consumers/jack/credentials/a/b", `{"plugins":{}}`, badID},
		{"/consumers/jack%2Fcredentials%2Fc", `{"username":"jack"}`, `{"error_msg":"wrong username"}`},
		{"/plugin_metadata", `{}`, `{"error_msg":"missing plugin name"}`},
		{"/routes/1", "", `{"error_msg":"missing configurations"}`},
		{"/routes/1", "[]", `{"error_msg":"invalid configuration: wrong type: expected object, got table"}`},
		{"/routes/1", "1", `{"error_msg":"invalid configuration: wrong type: expected object, got number"}`},
	} {
		a.want("PUT", prefix+c.path, c.body, 400, c.want)
	}
	for _, path := range []string{"/routes/a%2Fb", "/routes/a%00b", "/consumers/jack%2Fcredentials%2Fc", "/routes/1/2"} {
		a.want("GET", prefix+path, "", 404, `{"message":"Key not found"}`)
		a.want("DELETE", prefix+path, "", 404, `{"message":"Key not found"}`)
	}
	if got := a.gateway.Table().Revision(); got != revision {
		t.Errorf("a refusal has changed something: revision %d, was %d", got, revision)
	}
}

// What is stored is what was sent.
func TestValuesComeBackAsSent(t *testing.T) {
	a := newAPI(t)
	const times = `,"create_time":4000000000,"update_time":4000000000}`
	for _, c := range []struct{ path, body, want string }{
		{
			"/routes/1", `{ "uri" : "/a", "labels" : {"z":"1","a":"2"} , "upstream": {"nodes": {"a:1": 1e0} } }`,
			`{"uri":"/a","labels":{"z":"1","a":"2"},"upstream":{"nodes":{"a:1":1e0}},"id":"1"` + times,
		},
		{
			"/routes/2", `{"id":2,"uri":"/\u0061\/<","upstream":{"nodes":{"a:1":1}}}`,
			`{"id":"2","uri":"/\u0061\/<","upstream":{"nodes":{"a:1":1}}` + times,
		},
		{
			"/secrets/vault/1", `{"uri":"http://a","prefix":"p","token":"t","x":[1e300,100000000000000000001,1.50]}`,
			`{"uri":"http://a","prefix":"p","token":"t","x":[1e300,100000000000000000001,1.50],"id":"vault/1"` + times,
		},
		{"/services/1", `{"labels":[],"plugins":[]}`, `{"labels":[],"plugins":[],"id":"1"` + times},
		{
			"/routes/3", `{"uri":"/b","uri":"/a","upstream":{"nodes":{"a:1":1}}}`,
			`{"uri":"/a","upstream":{"nodes":{"a:1":1}},"id":"3"` + times,
		},
		{"/consumers/jack", `{"username":"jack","id":"ignored"}`, `{"username":"jack","id":"ignored"` + times},
		{"/secrets/aws/1", `{"access_key_id":"a","secret_access_key":"b"}`, `{"access_key_id":"a","secret_access_key":"b","id":"aws/1"` + times},
		{"/consumers/jack/credentials/c1", `{"plugins":{}}`, `{"plugins":{},"id":"c1"` + times},
	} {
		w := a.call("PUT", prefix+c.path, c.body)
		if got := string(lookup(w.Body.Bytes(), "value")); w.Code != 201 || got != c.want {
			t.Errorf("PUT %s: got %d %s, want %s", c.path, w.Code, w.Body, c.want)
		}
		if got := a.value(c.path); got != c.want {
			t.Errorf("GET %s: got %s, want %s", c.path, got, c.want)
		}
	}
	a.want("PUT", prefix+"/routes", `{"id":7,"uri":"/a","upstream":{"nodes":{"a:1":1}}}`, 201,
		`{"key":"/apisix/routes/7","value":{"id":7,"uri":"/a","upstream":{"nodes":{"a:1":1}}`+times+`}`)
}

// A name that a schema does not know must not reach a plugin in the place of one that it checks.
func TestLookalikesReachNoPlugin(t *testing.T) {
	const body = `{"uri":"/a","plugins":{"key-auth":{"Header":["x"]},"response-rewrite":{"Status_Code":9999}}}`
	a := newAPI(t)
	a.put("/routes/1", body)
	if got := a.value("/routes/1"); !strings.HasPrefix(got, strings.TrimSuffix(body, "}")) {
		t.Errorf("got %s", got)
	}
}

func TestCreateTimeStays(t *testing.T) {
	now := testTime
	a := newAPI(t, func(c *Config) { c.Now = func() time.Time { return now } })
	a.put("/services/1", `{}`)
	now = now.Add(time.Hour)
	a.put("/services/1", `{"name":"n"}`)
	if got, want := a.value("/services/1"), `{"name":"n","id":"1","create_time":4000000000,"update_time":4000003600}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	a.put("/plugin_configs/1", `{"plugins":{}}`)
	if got := a.value("/plugin_configs/1"); !strings.Contains(got, `"create_time":4000003600`) {
		t.Errorf("got %s", got)
	}
}

func TestPost(t *testing.T) {
	a := newAPI(t)
	a.put("/services/00000000000000000002", `{}`)
	a.want("POST", prefix+"/services", `{"name":"x"}`, 201,
		`{"key":"/apisix/services/00000000000000000003","value":{"name":"x","id":"00000000000000000003","create_time":4000000000,"update_time":4000000000}}`)
	a.want("POST", prefix+"/services/1", `{}`, 400, `{"error_msg":"wrong service id, do not need it"}`)
	a.want("POST", prefix+"/services", `{"id":"1"}`, 400, `{"error_msg":"wrong service id, do not need it"}`)
	a.want("POST", prefix+"/services", ``, 400, `{"error_msg":"missing configurations"}`)
	a.want("POST", prefix+"/services", `{"create_time":1}`, 400, `{"error_msg":"the property is forbidden:  create_time"}`)
	a.want("POST", prefix+"/services", `{"upstream":{"update_time":1}}`, 400, `{"error_msg":"the property is forbidden:  upstream.update_time"}`)
	a.want("POST", prefix+"/services", `{"plugins":{"create_time":{}}}`, 400, `{"error_msg":"the property is forbidden:  plugins.create_time"}`)
}

func TestTimeToLive(t *testing.T) {
	a := newAPI(t)
	a.put("/routes/1?ttl=90", plainRoute)
	o, _ := a.gateway.Table().Object(gateway.Routes, "1")
	if want := testTime.Add(90e9); !o.Expires.Equal(want) {
		t.Errorf("expires %v, want %v", o.Expires, want)
	}
	a.put("/routes/1", plainRoute)
	if o, _ := a.gateway.Table().Object(gateway.Routes, "1"); !o.Expires.IsZero() {
		t.Errorf("written again without ttl it expires %v", o.Expires)
	}
	for _, ttl := range []string{"", "abc", "NaN", "inf"} {
		a.want("PUT", prefix+"/routes/1?ttl="+ttl, plainRoute, 400, `{"error_msg":"invalid argument ttl: should be a number"}`)
	}
	for _, ttl := range []string{"0", "-1", "1e300"} {
		a.want("PUT", prefix+"/routes/1?ttl="+ttl, plainRoute, 400, `{"error_msg":"invalid argument ttl: should be greater than 0 and at most 9000000000"}`)
	}
}

func TestPrivateKeysStay(t *testing.T) {
	a := newAPI(t)
	certificate, key := testCertificate()
	body := string(fields{{[]byte(`"sni"`), []byte(`"a.com"`)}, {[]byte(`"cert"`), quote(certificate)}, {[]byte(`"key"`), quote(key)}}.text())
	put := a.call("PUT", prefix+"/ssls/1", body)
	if put.Code != 201 {
		t.Fatalf("got %d %s", put.Code, put.Body)
	}
	for _, w := range []string{
		put.Body.String(), a.call("GET", prefix+"/ssls/1", "").Body.String(), a.call("GET", prefix+"/ssls", "").Body.String(),
		a.call("PATCH", prefix+"/ssls/1", `{"status":0}`).Body.String(),
	} {
		if strings.Contains(w, "PRIVATE") || strings.Contains(w, `"key":"-`) || !strings.Contains(w, "CERTIFICATE") {
			t.Errorf("got %s", w)
		}
	}
	o, _ := a.gateway.Table().Object(gateway.SSLs, "1")
	if lookup(o.Value, "key") == nil {
		t.Error("a patch has lost the key")
	}
}

func TestErrorsOfTheGateway(t *testing.T) {
	h := newAPI(t)
	for _, c := range []struct {
		err    error
		status int
		text   string
	}{
		{&gateway.Refusal{Message: "m"}, 400, "m"},
		{&gateway.Refusal{Status: 404, Message: "m"}, 404, "m"},
		{gateway.ErrReadOnly, 403, gateway.ErrReadOnly.Error()},
		{&gateway.StoreError{Err: errors.New("disk is full")}, 503, "disk is full"},
		{gateway.ErrClosed, 503, gateway.ErrClosed.Error()},
		{context.DeadlineExceeded, 503, context.DeadlineExceeded.Error()},
		{errors.New("password is x"), 500, "internal error"},
	} {
		p := h.problem(c.err)
		if p.status != c.status || p.Error() != c.text {
			t.Errorf("%v: got %d %s", c.err, p.status, p.Error())
		}
	}
}
