// SPDX-License-Identifier: Apache-2.0

package grpctranscode

import (
	"bufio"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestConfigs(t *testing.T) {
	const named = `"proto_id":"1","service":"s.S","method":"M"`
	plugintest.Check(t, name, []plugintest.Config{
		{`{` + named + `}`, ""},
		{`{"proto_id":1,"service":"s.S","method":"M"}`, ""},
		{`{` + named + `,"pb_option":["enum_as_value","int64_as_hexstring","no_default_values","enable_hooks"]}`, ""},
		{`{"proto_id":"1","service":"s"}`, `property "method" is required`},
		{`{"proto_id":"a b","service":"s","method":"m"}`, `property "proto_id" validation failed: object matches none of the required`},
		{`{` + named + `,"pb_option":[]}`, `property "pb_option" validation failed: expect array to have at least 1 items`},
		{`{` + named + `,"pb_option":["other"]}`, `property "pb_option" validation failed: failed to validate item 1:`},
		{`{` + named + `,"max_resp_body_size":0}`, `property "max_resp_body_size" validation failed: expected 0 to be at least 1`},
		{`{` + named + `,"deadline":"1"}`, `property "deadline" validation failed: wrong type: expected number, got string`},
	})
}

// TestMessages: what a request names is what the node gets, and what the node has is what the client gets.
func TestMessages(t *testing.T) {
	node := serve(t, func(*call) error { return nil })
	onEach(t, func(t *testing.T, url string) {
		const none = `{"text":"","small":0,"long":0,"longer":0,"truth":false,"number":0,"part":0,"raw":"","color":"RED",` +
			`"list":[],"inners":[],"sizes":{},"numbered":{},"fixed":0}`
		const jsonType = "application/json"
		for _, c := range []struct{ name, method, target, contentType, body, want string }{
			{"nothing", "GET", "/bare", "", "", `{}`},
			{"defaults", "GET", "/all", "", "", none},
			{
				"query", "GET", "/bare?text=a%20b&small=-3&truth=true&list=1&list=2&color=BLUE&unknown=1", "", "",
				`{"text":"a b","small":-3,"truth":true,"color":"BLUE","list":[1,2]}`,
			},
			{"query of one item", "GET", "/bare?list=1&color=1", "", "", `{"color":"GREEN","list":[1]}`},
			{
				"form", "POST", "/bare", "application/x-www-form-urlencoded", "text=a+b&small=%31&long=9007199254740993",
				`{"text":"a b","small":1,"long":9007199254740993}`,
			},
			{
				"json", "POST", "/bare", jsonType, `{"text":"x","inner":{"text":"i","deeper":{"text":"d"}},"inners":[{"text":"1"},{}],
				"sizes":{"b":2,"a":"1"},"numbered":{"-1":{"text":"n"}},"left":"l","maybe":0,"at":{"seconds":5},"truth":true,"list":[1,2],"fixed":4294967295}`,
				`{"text":"x","truth":true,"inner":{"text":"i","deeper":{"text":"d"}},"list":[1,2],"inners":[{"text":"1"},{}],` +
					`"sizes":{"a":1,"b":2},"numbered":{"-1":{"text":"n"}},"left":"l","maybe":0,"at":{"seconds":5},"fixed":4294967295}`,
			},
			{
				"json with a charset, by PUT", "PUT", "/bare", jsonType + "; charset=utf-8", `{"small":1e3,"part":0.1,"number":2.5e-7}`,
				`{"small":1000,"number":2.5e-07,"part":0.1}`,
			},
			{
				"long integers", "PATCH", "/bare", jsonType, `{"long":"-9223372036854775808","longer":"#0xFFFFFFFFFFFFFFFF"}`,
				`{"long":-9223372036854775808,"longer":18446744073709551615}`,
			},
			{"texts", "POST", "/bare", jsonType, `{"text":"\u0001\"\\/é\n","raw":"\u00e9\u0000"}`, `{"text":"\u0001\"\\/é\n","raw":"é\u0000"}`},
			{"null", "POST", "/bare", jsonType, `{"text":null,"inner":null}`, `{}`},
			{"no body", "POST", "/bare?text=q", jsonType, ``, `{"text":"q"}`},
			{"body and query", "POST", "/bare?text=q&small=2", jsonType, `{"text":"b"}`, `{"text":"b","small":2}`},
			{"JSON of a GET is nobody's", "GET", "/bare?text=q", jsonType, `{"text":"b"}`, `{"text":"q"}`},
			{
				"enums and integers", "GET", "/hex?color=BLUE&long=-4294967296&longer=4294967295&small=-5", "", "",
				`{"small":-5,"long":"#-0x100000000","longer":4294967295,"color":7}`,
			},
			{
				"integers as text", "GET", "/string?color=9&long=4294967296&longer=18446744073709551615", "", "",
				`{"long":"#4294967296","longer":"#18446744073709551615","color":9}`,
			},
		} {
			a := do(t, c.method, url+c.target, c.contentType, c.body)
			a.want(t, c.name, 200, c.want)
			if got := a.Header.Get("Content-Type"); got != "application/json" || a.Header.Get("Grpc-Status") != "0" {
				t.Errorf("%s: got type %s, status %s", c.name, got, a.Header.Get("Grpc-Status"))
			}
		}
		for name, c := range map[string][2]string{
			"JSON that ends early":  {jsonType, `{"text":`},
			"more than one":         {jsonType, `{} {}`},
			"no object":             {jsonType, `[1]`},
			"null":                  {jsonType, `null`},
			"another type":          {jsonType, `{"text":1}`},
			"no number":             {jsonType, `{"small":"x"}`},
			"a fraction":            {jsonType, `{"small":1.5}`},
			"too large":             {jsonType, `{"small":2147483648}`},
			"negative":              {jsonType, `{"longer":-1}`},
			"an unknown name":       {jsonType, `{"color":"PINK"}`},
			"no truth":              {jsonType, `{"truth":"maybe"}`},
			"no message":            {jsonType, `{"inner":"x"}`},
			"no message in a list":  {jsonType, `{"inners":["x"]}`},
			"no map":                {jsonType, `{"sizes":[]}`},
			"a key of another type": {jsonType, `{"numbered":{"x":{}}}`},
			"two of one":            {"", `text=1&text=2`},
			"no UTF-8":              {"", `text=%ff`},
		} {
			if a := do(t, "POST", url+"/bare", c[0], c[1]); a.StatusCode != 400 {
				t.Errorf("%s: got %d %s, want 400", name, a.StatusCode, a.body)
			}
		}
		if a := do(t, "HEAD", url+"/bare?text=q", "", ""); a.StatusCode != 200 || a.body != "" {
			t.Errorf("HEAD: got %d %q", a.StatusCode, a.body)
		}
	},
		protoObject("1", echoProto),
		routeTo("all", "/all", node, `"method":"Say"`),
		routeTo("bare", "/bare", node, `"method":"Say","pb_option":["no_default_values"]`),
		routeTo("hex", "/hex", node, `"method":"Say","pb_option":["use_default_metatable","enum_as_value","int64_as_hexstring"]`),
		routeTo("string", "/string", node, `"method":"Say","pb_option":["no_default_values","int64_as_string"]`),
	)
}

// detailed is the status of APISIX's documentation.
func detailed(t *testing.T) error {
	t.Helper()
	return grpcstatus.FromProto(&status.Status{
		Code: 14, Message: "Out of service", Details: []*anypb.Any{{
			TypeUrl: "type.googleapis.com/test.Detail", Value: []byte("\b\u0001\u0012\u001cThe server is out of service\u001a\aservice"),
		}},
	}).Err()
}

// TestStatuses: what became of a call is the status of the response, whether the node said so at once or after a head.
func TestStatuses(t *testing.T) {
	for _, early := range []bool{false, true} {
		node := serve(t, func(c *call) error {
			if early {
				if err := grpc.SetHeader(c.ctx, metadata.Pairs("x-early", "yes")); err != nil {
					return err
				}
				if err := grpc.SetTrailer(c.ctx, metadata.Pairs("x-late", "yes")); err != nil {
					return err
				}
			}
			if c.text() == "detailed" {
				return detailed(t)
			}
			small := c.message.Get(c.message.Descriptor().Fields().ByName("small")).Int()
			return grpcstatus.Error(codes.Code(small), "said: "+c.text())
		})
		onEach(t, func(t *testing.T, url string) {
			for code, want := range []int{
				200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401, 599,
			} {
				if code == 0 {
					continue
				}
				n := string(rune('0'+code/10)) + string(rune('0'+code%10))
				a := do(t, "GET", url+"/quiet?text=n%C3%B6&small="+n, "", "")
				a.want(t, n, want, "")
				if got := strings.TrimLeft(n, "0"); a.Header.Get("Grpc-Status") != got || a.Header.Get("Grpc-Message") != "said: n%C3%B6" {
					t.Errorf("%s: got %v", n, a.Header)
				}
				if early && (a.Header.Get("X-Early") != "yes" || a.Header.Get("X-Late") != "yes") {
					t.Errorf("%s: metadata is missing: %v", n, a.Header)
				}
			}
			do(t, "GET", url+"/told?text=n%C3%B6&small=5", "", "").want(t, "told", 404, `{"error":{"code":5,"message":"said: nö"}}`)
			do(t, "GET", url+"/told?text=detailed", "", "").want(t, "details", 503, `{"error":{"code":14,"message":"Out of service","details":[`+
				`{"type_url":"type.googleapis.com/test.Detail","value":"\b\u0001\u0012\u001cThe server is out of service\u001a\u0007service"}]}}`)
			do(t, "GET", url+"/typed?text=detailed", "", "").want(t, "typed", 503, `{"error":{"code":14,"message":"Out of service","details":[`+
				`{"code":1,"message":"The server is out of service","type":"service"}]}}`)
			do(t, "GET", url+"/mistyped?text=detailed", "", "").want(t, "mistyped", 503,
				"failed to call pb.decode to decode details in grpc-status-details-bin")
		},
			protoObject("1", echoProto),
			routeTo("quiet", "/quiet", node, `"method":"Say"`),
			routeTo("told", "/told", node, `"method":"Say","show_status_in_body":true`),
			routeTo("typed", "/typed", node, `"method":"Say","show_status_in_body":true,"status_detail_type":"test.Detail"`),
			routeTo("mistyped", "/mistyped", node, `"method":"Say","show_status_in_body":true,"status_detail_type":"test.Other"`),
		)
	}
}

// TestRequestFields: the node gets a call of gRPC, with the deadline, and metadata that the client sent.
func TestRequestFields(t *testing.T) {
	type seen struct {
		timeout, mine, encodings string
		left                     time.Duration
	}
	calls := make(chan seen, 1)
	node := serve(t, func(c *call) error {
		deadline, _ := c.ctx.Deadline()
		calls <- seen{c.metadata("content-type"), c.metadata("x-mine"), c.metadata("grpc-accept-encoding"), time.Until(deadline)}
		return nil
	})
	onEach(t, func(t *testing.T, url string) {
		a := do(t, "GET", url+"/dead", "", "", "X-Mine", "yes", "Grpc-Accept-Encoding", "gzip", "Content-Encoding", "br")
		a.want(t, "dead", 200, `{"text":""}`)
		if got := <-calls; got.mine != "yes" || got.encodings != "" || got.left <= 0 || got.left > time.Hour {
			t.Errorf("got %+v", got)
		}
		do(t, "GET", url+"/open", "", "").want(t, "open", 200, `{"text":""}`)
		if got := <-calls; got.left > 0 {
			t.Errorf("got %+v, want no deadline", got)
		}
	},
		protoObject("1", echoProto),
		routeTo("dead", "/dead", node, `"method":"Ask","deadline":3600000`),
		routeTo("open", "/open", node, `"method":"Ask"`),
	)
	for milliseconds, want := range map[float64]string{
		-1: "", 0: "", 0.2: "1m", 100: "100m", 99999999: "99999999m", 100000000: "100000S", 1e300: "99999999S",
	} {
		if got := timeoutText(milliseconds); got != want {
			t.Errorf("%v: got %q, want %q", milliseconds, got, want)
		}
	}
}

// TestStream: the messages of a method that streams come as they are sent, one a line.
func TestStream(t *testing.T) {
	proceed := make(chan bool)
	node := serve(t, func(c *call) error {
		switch c.text() {
		case "none":
			return nil
		case "refused":
			return grpcstatus.Error(codes.PermissionDenied, "no")
		}
		for range 3 {
			if err := c.stream.SendMsg(c.message); err != nil {
				return err
			}
			<-proceed
		}
		if c.text() == "fails" {
			return grpcstatus.Error(codes.DataLoss, "late")
		}
		return nil
	})
	onEach(t, func(t *testing.T, url string) {
		for text, want := range map[string]string{"a": "", "fails": `{"error":{"code":15,"message":"late"}}` + "\n"} {
			res, err := http.Get(url + "/s?text=" + text)
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(res.Body)
			for range 3 {
				// The node goes on when the client has what it sent.
				if line, err := lines.ReadString('\n'); err != nil || line != `{"text":"`+text+`"}`+"\n" {
					t.Fatalf("got %q, %v", line, err)
				}
				proceed <- true
			}
			rest, err := io.ReadAll(lines)
			if err != nil || string(rest) != want || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: got %d %q, %v", text, res.StatusCode, rest, err)
			}
			if want := map[string]string{"a": "0", "fails": "15"}[text]; res.Trailer.Get("Grpc-Status") != want {
				t.Errorf("%s: got %v, want %s", text, res.Trailer, want)
			}
			_ = res.Body.Close()
		}
		do(t, "GET", url+"/s?text=none", "", "").want(t, "none", 200, "")
		do(t, "GET", url+"/s?text=refused", "", "").want(t, "refused", 403, `{"error":{"code":7,"message":"no"}}`)
	},
		protoObject("1", echoProto),
		routeTo("s", "/s", node, `"method":"Repeat","show_status_in_body":true,"pb_option":["no_default_values"]`),
	)
}

// TestBounds: a response beyond the bound is 502, of a stream what comes before it is sent.
func TestBounds(t *testing.T) {
	node := serve(t, func(c *call) error {
		if c.stream != nil {
			return c.stream.SendMsg(c.message)
		}
		return nil
	})
	onEach(t, func(t *testing.T, url string) {
		do(t, "GET", url+"/u?text=short", "", "").want(t, "short", 200, `{"text":"short"}`)
		if a := do(t, "GET", url+"/u?text="+strings.Repeat("x", 40), "", ""); a.StatusCode != 502 {
			t.Errorf("got %d %q, want 502", a.StatusCode, a.body)
		}
		res, err := http.Get(url + "/s?text=" + strings.Repeat("x", 40))
		if err == nil {
			_, err = io.ReadAll(res.Body)
			_ = res.Body.Close()
		}
		if err == nil {
			t.Error("a stream beyond its bound looks complete")
		}
	},
		protoObject("1", echoProto),
		routeTo("u", "/u", node, `"method":"Say","max_resp_body_size":20,"pb_option":["no_default_values"]`),
		routeTo("s", "/s", node, `"method":"Repeat","max_resp_body_size":20`),
	)
}

// TestOtherNodes: a node that is down, that does not speak gRPC, or that answers no call passes for none that does.
func TestOtherNodes(t *testing.T) {
	plain := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("X-Case") {
		case "404":
			http.Error(w, "not here", 404)
		case "garbage":
			w.Header().Set("Grpc-Status", "0")
			_, _ = io.WriteString(w, "\x00\x00\x00\x00\x09short")
		case "two":
			w.Header().Set("Grpc-Status", "0")
			_, _ = io.WriteString(w, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
		case "compressed":
			w.Header().Set("Grpc-Status", "0")
			_, _ = io.WriteString(w, "\x01\x00\x00\x00\x00")
		case "no base64", "no status":
			w.Header().Set("Grpc-Status", "2")
			details := map[string]string{"no base64": "%", "no status": base64.StdEncoding.EncodeToString([]byte("\xff"))}
			w.Header().Set("Grpc-Status-Details-Bin", details[r.Header.Get("X-Case")])
		default:
			_, _ = io.WriteString(w, "<html>")
		}
	}), ReadHeaderTimeout: time.Minute, Protocols: new(http.Protocols)}
	plain.Protocols.SetUnencryptedHTTP2(true)
	node := listen(t)
	go func() { _ = plain.Serve(node) }()
	defer plain.Close()
	down := listen(t)
	_ = down.Close()
	onEach(t, func(t *testing.T, url string) {
		for what, want := range map[string]answered{
			"":           {&http.Response{StatusCode: 502}, "upstream grpc status not received"},
			"404":        {&http.Response{StatusCode: 404}, "not here\n"},
			"garbage":    {&http.Response{StatusCode: 502}, failedDecode},
			"two":        {&http.Response{StatusCode: 502}, failedDecode},
			"compressed": {&http.Response{StatusCode: 502}, failedDecode},
			"no base64":  {&http.Response{StatusCode: 500}, "grpc-status-details-bin is not in base64 format"},
			"no status":  {&http.Response{StatusCode: 500}, "failed to call pb.decode to decode grpc-status-details-bin"},
		} {
			do(t, "GET", url+"/plain", "", "", "X-Case", what).want(t, what, want.StatusCode, want.body)
		}
		for path, want := range map[string]int{"/down": 502, "/missing": 503} {
			if a := do(t, "GET", url+path, "", ""); a.StatusCode != want || !strings.Contains(a.body, "<html>") {
				t.Errorf("%s: got %d %q, want %d", path, a.StatusCode, a.body, want)
			}
		}
	},
		protoObject("1", echoProto),
		routeTo("plain", "/plain", node.Addr().String(), `"method":"Say","show_status_in_body":true`),
		routeTo("down", "/down", down.Addr().String(), `"method":"Say"`),
		routeTo("missing", "/missing", node.Addr().String(), `"method":"Say","proto_id":"2"`),
	)
}

// TestDescriptors: the service may be described by a set of descriptors, here that of gRPC's own interoperability tests.
func TestDescriptors(t *testing.T) {
	content, service := interopSet(t)
	onEach(t, func(t *testing.T, url string) {
		a := do(t, "POST", url+"/unary", "application/json", `{"response_size":3,"fill_username":true}`)
		a.want(t, "unary", 200, `{"payload":{"type":"COMPRESSABLE","body":"\u0000\u0000\u0000"},"username":"","oauth_scope":"","server_id":"",`+
			`"grpclb_route_type":"GRPCLB_ROUTE_TYPE_UNKNOWN","hostname":""}`)
		a = do(t, "POST", url+"/unary", "application/json", `{"response_status":{"code":2,"message":"test status message"}}`)
		a.want(t, "status", 500, "")
		a = do(t, "POST", url+"/stream", "application/json", `{"response_parameters":[{"size":1},{"size":2}]}`)
		a.want(t, "stream", 200, `{"payload":{"type":"COMPRESSABLE","body":"\u0000"},"peer_socket_address":""}`+"\n"+
			`{"payload":{"type":"COMPRESSABLE","body":"\u0000\u0000"},"peer_socket_address":""}`+"\n")
	},
		protoObject("1", content),
		routeTo("unary", "/unary", service, `"service":"grpc.testing.TestService","method":"UnaryCall"`),
		routeTo("stream", "/stream", service, `"service":"grpc.testing.TestService","method":"StreamingOutputCall"`),
	)
}

func BenchmarkTranscode(b *testing.B) {
	p, m := echo(b)
	frame, err := proto.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		if out, err = p.transcribe(out[:0], frame); err != nil {
			b.Fatal(err)
		}
	}
}
