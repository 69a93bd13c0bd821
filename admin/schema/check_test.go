// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/base64"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/andogate/ando/modules/gateway"
)

func TestCheck(t *testing.T) {
	const node = `"upstream":{"nodes":{"a:1":1}}`
	for _, c := range []struct {
		kind         gateway.Kind
		object, want string // want is a prefix; "" for no error
	}{
		{gateway.Routes, `{"uri":"/a",` + node + `}`, ``},
		{gateway.Routes, `"text"`, `invalid configuration: wrong type: expected object, got string`},
		{gateway.Routes, `null`, `invalid configuration: wrong type: expected object, got userdata`},
		{gateway.Routes, `{"host":"a","hosts":["b"]}`, `only one of host or hosts is allowed`},
		{gateway.Routes, `{"remote_addr":"::1","remote_addrs":["::1"]}`, `only one of remote_addr or remote_addrs is allowed`},
		{gateway.Routes, `{"uri":"/a","remote_addrs":["10.0.0.0/8","fe80::/10","::1","1.2.3.4"],` + node + `}`, ``},
		{gateway.Routes, `{"uri":"/a","remote_addrs":["10.0.0.0/33"],` + node + `}`, `invalid configuration: property "remote_addrs" validation failed: failed to validate item 1: object matches none of the required`},
		{gateway.Routes, `{"uri":"/a","expression":"request.method == 'GET'",` + node + `}`, ``},
		{gateway.Routes, `{"uri":"/a","expression":"",` + node + `}`, `invalid configuration: property "expression" validation failed: string too short`},
		{gateway.Routes, `{"uri":"/a","filter_func":"local a = 1",` + node + `}`, `invalid configuration: property "filter_func" validation failed: failed to match pattern "^function"`},
		{gateway.Routes, `{"uri":"/a","upstream":{"nodes":{"a:70000":1}}}`, `invalid port 70000`},
		{gateway.Services, `{"upstream":{"type":"chash","nodes":{}}}`, `missing key`},
		{gateway.StreamRoutes, `{"upstream":{"type":"chash","nodes":{}}}`, `missing key`},

		{gateway.Upstreams, `{"nodes":{"a":1,"b:80":1,"[::1]:80":1,"[::1]":1}}`, ``},
		{gateway.Upstreams, `{"nodes":{"a:0":1}}`, `invalid port 0`},
		{gateway.Upstreams, `{"nodes":{"a:http":1}}`, `invalid port http`},
		{gateway.Upstreams, `{"nodes":{"::1":1}}`, `IPv6 address must be enclosed with '[' and ']'`},
		{gateway.Upstreams, `{"nodes":{"fe80::1:80":1}}`, `IPv6 address must be enclosed with '[' and ']'`},
		{gateway.Upstreams, `{"nodes":[{"host":"::1","port":80,"weight":1}]}`, `IPv6 address must be enclosed with '[' and ']'`},
		{gateway.Upstreams, `{"nodes":[{"host":"[::1]","port":80,"weight":1}]}`, ``},
		{gateway.Upstreams, `{"nodes":{},"pass_host":"rewrite"}`, "`upstream_host` can't be empty when `pass_host` is `rewrite`"},
		{gateway.Upstreams, `{"nodes":{},"pass_host":"rewrite","upstream_host":"a"}`, ``},
		{gateway.Upstreams, `{"nodes":{},"type":"chash","hash_on":"header","key":"X_a-1"}`, ``},
		{gateway.Upstreams, `{"nodes":{},"type":"chash","hash_on":"cookie","key":"a b"}`, `invalid configuration: failed to match pattern "^[a-zA-Z0-9-_]+$" with "a b"`},
		{gateway.Upstreams, `{"nodes":{},"type":"chash","hash_on":"vars_combinations"}`, `missing key`},
		{gateway.Upstreams, `{"nodes":{},"type":"chash","hash_on":"vars_combinations","key":"a b"}`, ``},
		{gateway.Upstreams, `{"nodes":{},"key":"a b"}`, ``},

		{gateway.StreamRoutes, `{"remote_addr":"::/999"}`, `invalid remote_addr: ::/999`},
		{gateway.StreamRoutes, `{"remote_addr":"10.0.0.0/8","server_addr":"::1"}`, ``},

		{gateway.Secrets, `{"id":"vault/1","uri":"http://a","prefix":"p","token":"t"}`, ``},
		{gateway.Secrets, `{"id":"vault/1","uri":"http://a","prefix":"p"}`, `invalid configuration: property "token" is required`},
		{gateway.Secrets, `{"id":"bogus/1"}`, `invalid secret manager: bogus`},
		{gateway.Secrets, `{"id":"1"}`, `invalid secret id: 1`},
		{gateway.PluginMetadata, `{"any":"thing"}`, ``},
		{gateway.Credentials, `{"plugins":{"a":{},"b":{}}}`, `invalid configuration: property "plugins" validation failed: expect object to have at most 1 properties`},
		{gateway.Consumers, `{"username":"a","id":["ignored"]}`, ``},
		{gateway.GraphQLCostDecorations, `{"field_path":"Query.a","mul_arguments":["first"],"add_value":1}`, ``},
		{"bogus", `{}`, `Unsupported resource type: bogus`},
	} {
		t.Run(string(c.kind)+" "+c.object, func(t *testing.T) {
			value := decode(t, c.object)
			wantRefusal(t, Check(c.kind, value), c.want)
			if inJSON(value) != inJSON(decode(t, c.object)) {
				t.Errorf("the object became %s", inJSON(value))
			}
		})
	}
}

func TestProtos(t *testing.T) {
	set := func(files ...*descriptorpb.FileDescriptorProto) string {
		binary, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: files})
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(binary)
	}
	message := &descriptorpb.DescriptorProto{Name: proto.String("M")}
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("a.proto"), Syntax: proto.String("proto3"), MessageType: []*descriptorpb.DescriptorProto{message},
	}
	twice := &descriptorpb.FileDescriptorProto{
		Name: proto.String("a.proto"), MessageType: []*descriptorpb.DescriptorProto{message, message},
	}
	for content, want := range map[string]string{
		`syntax = "proto3"; package p; message M { string a = 1; }`:                                   ``,
		"// comment\nsyntax = 'proto3';/* x */ import \"google/protobuf/any.proto\";":                 ``,
		`import public "google/protobuf/timestamp.proto"; ; enum E { A = 0; }`:                        ``,
		`option (a.b) = { x: 1 }; service S { rpc M(A) returns (stream B) { option x = "}"; } }`:      ``,
		`message M { map<string, int32> m = 1 [deprecated = true]; reserved 2 to 5; string s = -6; }`: ``,
		`import "other.proto";`:          `invalid content: line 1: module 'other.proto' not found`,
		`import;`:                        `invalid content: line 1: a file name is expected after 'import'`,
		"\n\nmessag M {}":                `invalid content: line 3: unexpected 'messag'`,
		`message M {`:                    `invalid content: line 1: '{' is not closed`,
		`message M } `:                   `invalid content: line 1: unexpected '}'`,
		`message M { string a = 1; ]`:    `invalid content: line 1: unexpected ']'`,
		`syntax = "proto3`:               `invalid content: line 1: unfinished string`,
		`syntax = "proto3\`:              `invalid content: line 1: unfinished string`,
		`syntax = "proto3"`:              `invalid content: line 1: ';' expected near '<eof>'`,
		`/* never`:                       `invalid content: line 1: unfinished comment`,
		`message M ? {}`:                 `invalid content: line 1: unexpected character '?'`,
		set(file):                        ``,
		set():                            `invalid configuration: property "content" validation failed: string too short`,
		set(twice):                       `invalid content: `,
		strings.Repeat("AAAA", 5):        `invalid content: no FileDescriptorSet: `,
		"EgA=":                           `invalid content: the FileDescriptorSet is empty`,
		strings.Repeat("message M{", 99): `invalid content: line 1: '{' is not closed`,
	} {
		t.Run(content, func(t *testing.T) {
			wantRefusal(t, Check(gateway.Protos, map[string]any{"content": content}), want)
		})
	}
}

func TestCheckForbidden(t *testing.T) {
	for value, want := range map[string]string{
		`{"a":1,"upstream":{"nodes":{}},"plugins":{}}`: ``,
		`"text"`:                         ``,
		`{"create_time":1}`:              `the property is forbidden:  create_time`,
		`{"upstream":{"update_time":1}}`: `the property is forbidden:  upstream.update_time`,
		`{"plugins":{"create_time":{}}}`: `the property is forbidden:  plugins.create_time`,
		`{"create_time":1,"update_time":1,"upstream":"not a map"}`: `the property is forbidden:  create_time update_time`,
	} {
		err := CheckForbidden(decode(t, value))
		if text(err) != want {
			t.Errorf("%s: got %v, want %q", value, err, want)
		}
	}
}

func TestCheckID(t *testing.T) {
	for _, c := range []struct {
		kind     gateway.Kind
		path     string
		post     bool
		value    string
		id, want string
	}{
		{gateway.Routes, "1", false, `{}`, "1", ``},
		{gateway.Routes, "1", false, `{"id":"1"}`, "1", ``},
		{gateway.Routes, "1", false, `{"id":1}`, "1", ``},
		{gateway.Routes, "", false, `{"id":7}`, "7", ``},
		{gateway.Routes, "", false, `{"id":7.0}`, "7", ``},
		{gateway.Routes, "", false, `{}`, "", `missing route id`},
		{gateway.PluginConfigs, "", false, `{}`, "", `missing plugin config id`},
		{gateway.Credentials, "", false, `{}`, "", `missing credential id`},
		{gateway.Routes, "1", false, `{"id":"2"}`, "", `wrong route id`},
		{gateway.ConsumerGroups, "1", false, `{"id":{}}`, "", `wrong consumer group id`},
		{gateway.Routes, "", true, `{}`, "", ``},
		{gateway.Routes, "1", true, `{}`, "", `wrong route id, do not need it`},
		{gateway.StreamRoutes, "", true, `{"id":1}`, "", `wrong stream route id, do not need it`},
		{gateway.Consumers, "", false, `{"username":"a","id":1}`, "a", ``},
		{gateway.Consumers, "b", false, `{"username":"a"}`, "", `wrong username`},
		{gateway.Consumers, "b", false, `{}`, "", ``},
	} {
		id, err := CheckID(c.kind, c.path, decode(t, c.value), c.post)
		if id != c.id || text(err) != c.want {
			t.Errorf("%s %q %s: got %q, %v; want %q, %q", c.kind, c.path, c.value, id, err, c.id, c.want)
		}
	}
}
