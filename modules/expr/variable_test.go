// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"crypto/tls"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// wantVar compares a variable; "absent" stands for one that is not there.
func wantVar(t *testing.T, x *gateway.Exchange, name, want string) {
	t.Helper()
	got, ok := Variable(name)(x)
	if !ok {
		if got != "" {
			t.Errorf("$%s is absent and yet %q", name, got)
		}
		got = "absent"
	}
	if got != want {
		t.Errorf("$%s = %q; want %q", name, got, want)
	}
}

func TestRequestVariables(t *testing.T) {
	x := newExchange(t, `POST /a//b/%2e%2e/c%20d?q=a+b%21&q=2&flag HTTP/1.1
Host: Example.com:9080
Content-Type: text/plain
Content-Length: 12
X-Multi: 1
X-Multi: 2
Cookie: a=1
Cookie: b=2`)
	x.Request.ContentLength = 12
	hostname, _ := os.Hostname()
	for name, want := range map[string]string{
		"uri":                 "/a/c d",
		"request_uri":         "/a/c%20d?q=a+b%21&q=2&flag",
		"real_request_uri":    "/a//b/%2e%2e/c%20d?q=a+b%21&q=2&flag",
		"args":                "q=a+b%21&q=2&flag",
		"query_string":        "q=a+b%21&q=2&flag",
		"is_args":             "?",
		"arg_q":               "a b!",
		"arg_flag":            "",
		"arg_Q":               "absent",
		"host":                "example.com",
		"http_host":           "Example.com:9080",
		"hostname":            strings.ToLower(hostname),
		"server_name":         "_",
		"scheme":              "http",
		"https":               "",
		"method":              "POST",
		"request_method":      "POST",
		"request":             "POST /a//b/%2e%2e/c%20d?q=a+b%21&q=2&flag HTTP/1.1",
		"server_protocol":     "HTTP/1.1",
		"remote_addr":         "192.0.2.7",
		"remote_port":         "50000",
		"realip_remote_addr":  "198.51.100.1",
		"realip_remote_port":  "40000",
		"server_addr":         "10.0.0.1",
		"server_port":         "9080",
		"content_type":        "text/plain",
		"content_length":      "12",
		"http_content_length": "12",
		"http_content_type":   "text/plain",
		"http_x_multi":        "1, 2",
		"http_X-Multi":        "1, 2",
		"http_x_none":         "absent",
		"http_cookie":         "a=1; b=2",
		"cookie_b":            "2",
		"cookie_c":            "absent",
		"ssl_protocol":        "absent",
		"request_body":        "absent",
		"nonsense":            "absent",
		"":                    "absent",
	} {
		wantVar(t, x, name, want)
	}

	bare := newExchange(t, "GET / HTTP/1.0")
	bare.Request.ProtoMinor = 0
	bare.Request.Client, bare.Request.Local = netip.AddrPort{}, netip.AddrPort{}
	for name, want := range map[string]string{
		"args": "absent", "is_args": "", "host": "_", "http_host": "absent", "server_protocol": "HTTP/1.0",
		"server_addr": "absent", "server_port": "absent", "content_length": "absent", "content_type": "absent",
		"request_uri": "/",
	} {
		wantVar(t, bare, name, want)
	}

	secure := newExchange(t, "GET / HTTP/2")
	secure.Request.Scheme, secure.Request.ProtoMajor = "https", 2
	secure.Request.ContentLength = 5
	secure.Request.TLS = &tls.ConnectionState{
		ServerName: "h.example", Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256,
	}
	secure.SetBody([]byte("12345"), nil)
	for name, want := range map[string]string{
		"https": "on", "server_protocol": "HTTP/2.0", "ssl_server_name": "h.example", "ssl_protocol": "TLSv1.3",
		"ssl_cipher": "TLS_AES_128_GCM_SHA256", "content_length": "5", "request_body": "12345",
	} {
		wantVar(t, secure, name, want)
	}
}

func TestProtocolVariables(t *testing.T) {
	x := newExchange(t, "GET / HTTP/3")
	x.Request.ProtoMajor = 3
	wantVar(t, x, "server_protocol", "HTTP/3.0")
	for version, want := range map[uint16]string{
		tls.VersionTLS10: "TLSv1", tls.VersionTLS11: "TLSv1.1", tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3",
		0: "absent",
	} {
		x.Request.TLS = &tls.ConnectionState{Version: version}
		wantVar(t, x, "ssl_protocol", want)
	}
}

// TestServerAddrChanges has two addresses take turns, since the text of the last one is kept.
func TestServerAddrChanges(t *testing.T) {
	x := newExchange(t, "GET / HTTP/1.1")
	for range 2 {
		for _, local := range []string{"10.0.0.1:80", "10.0.0.2:443", "[::ffff:10.0.0.3]:80"} {
			x.Request.Local = netip.MustParseAddrPort(local)
			wantVar(t, x, "server_addr", x.Request.Local.Addr().Unmap().String())
			wantVar(t, x, "server_port", local[strings.LastIndexByte(local, ':')+1:])
		}
	}
}

func TestObjectVariables(t *testing.T) {
	names := []string{
		"route_id", "route_name", "service_id", "service_name", "matched_uri", "matched_host",
		"consumer_name", "consumer_group_id", "credential_id", "uri_param_id", "custom",
	}
	x := newExchange(t, "GET /u/7 HTTP/1.1")
	for _, name := range names {
		wantVar(t, x, name, "absent")
	}
	x.Route = &gateway.Route{ID: "1", Name: "r", ServiceID: "2", ServiceName: "s"}
	x.MatchedURI, x.MatchedHost = "/u/:id", "*.example.com"
	x.Params = append(x.Params, gateway.Param{Name: "id", Value: "7"}, gateway.Param{Name: ":ext", Value: "x/y"})
	x.Consumer, x.Credential = &gateway.Consumer{Name: "jack", GroupID: "g"}, "c1"
	x.SetVar("custom", "value")
	for i, want := range []string{"1", "r", "2", "s", "/u/:id", "*.example.com", "jack", "g", "c1", "7", "value"} {
		wantVar(t, x, names[i], want)
	}
	wantVar(t, x, "uri_param_:ext", "x/y")
}

func TestForwardVariables(t *testing.T) {
	names := []string{
		"balancer_ip", "balancer_port", "upstream_unresolved_host", "upstream_host", "upstream_scheme", "upstream_uri",
		"upstream_addr", "upstream_status", "upstream_response_time", "upstream_http_etag",
	}
	check := func(x *gateway.Exchange, wants ...string) {
		t.Helper()
		for i, want := range wants {
			wantVar(t, x, names[i], want)
		}
	}
	const none = "absent"
	x := newExchange(t, "GET /a?b HTTP/1.1\nHost: h.example")
	check(x, none, none, none, none, none, "/a?b", none, none, none, none)

	first := &gateway.Node{Host: "node1", Port: 80, Addr: "node1:80", HostHeader: "node1"}
	second := &gateway.Node{Host: "10.0.0.2", Port: 8080, Addr: "10.0.0.2:8080", HostHeader: "10.0.0.2:8080"}
	f := &x.Forward
	f.Upstream = &gateway.Upstream{Scheme: "https", PassHost: "pass", UpstreamHost: "up.example"}
	f.Node = first
	f.Attempts = append(f.Attempts, gateway.Attempt{Node: first})
	check(x, "node1", "80", "node1", "h.example", "https", "/a?b", "node1:80", "-", "-", none)

	f.Attempts[0].Status, f.Attempts[0].Took = 502, 1234567*time.Microsecond
	f.Node = nil
	check(x, "node1", "80", "node1", "h.example", "https", "/a?b", "node1:80", "502", "1.234", none)

	f.Node = second
	f.Attempts = append(f.Attempts, gateway.Attempt{Node: second, Status: 200, Took: 5 * time.Millisecond})
	f.Target, f.Scheme = "/new", "http"
	x.Response.FromNode = true
	x.Response.Header.Add("ETag", "x")
	check(x, "10.0.0.2", "8080", "10.0.0.2", "h.example", "http", "/new", "node1:80, 10.0.0.2:8080", "502, 200",
		"1.234, 0.005", "x")

	for _, c := range []struct{ passHost, host, want string }{
		{"node", "", "10.0.0.2:8080"}, {"rewrite", "", "up.example"}, {"rewrite", "set.example", "set.example"},
	} {
		f.Upstream.PassHost, f.Host = c.passHost, c.host
		wantVar(t, x, "upstream_host", c.want)
	}
	f.Upstream.PassHost, f.Host, f.Node = "node", "", nil
	wantVar(t, x, "upstream_host", "10.0.0.2:8080")
	f.Attempts = nil
	wantVar(t, x, "upstream_host", "absent")
	f.Upstream.PassHost, x.Request.RawHost = "pass", ""
	wantVar(t, x, "upstream_host", "absent")
	f.Upstream.PassHost = "rewrite"
	wantVar(t, x, "upstream_host", "up.example")
}

func TestResponseVariables(t *testing.T) {
	x := newExchange(t, "GET / HTTP/1.1")
	wantVar(t, x, "status", "000")
	x.Response.Status = 404
	x.Response.Header.Add("Content-Type", "text/html")
	wantVar(t, x, "status", "404")
	wantVar(t, x, "sent_http_content_type", "text/html")
	wantVar(t, x, "sent_http_etag", "absent")
	wantVar(t, x, "upstream_http_content_type", "absent")
	wantVar(t, x, "request_time", "0.000")
	x.Start = time.Now().Add(-time.Hour)
	for name, form := range map[string]string{
		"request_time": `^36\d\d\.\d{3}$`,
		"msec":         `^\d{10}\.\d{3}$`,
		"time_iso8601": `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d$`,
		"time_local":   `^\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}$`,
	} {
		if got, ok := Variable(name)(x); !ok || !regexp.MustCompile(form).MatchString(got) {
			t.Errorf("$%s = %q, %v; want the form %s", name, got, ok, form)
		}
	}
}
