// SPDX-License-Identifier: Apache-2.0

package protos

import (
	"encoding/base64"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const greeter = `syntax = "proto3";
package helloworld;
import "google/protobuf/timestamp.proto";
service Greeter { rpc SayHello (HelloRequest) returns (HelloReply); }
message HelloRequest { string name = 1; google.protobuf.Timestamp at = 2; }
message HelloReply { string message = 1; message Inner { int32 n = 1; } }
`

func TestSource(t *testing.T) {
	files, err := Compile(greeter)
	if err != nil {
		t.Fatal(err)
	}
	m, err := files.Method("helloworld.Greeter", "SayHello")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Input().Fields().ByName("at").Message().FullName(); got != "google.protobuf.Timestamp" {
		t.Errorf("got %s", got)
	}
	for _, name := range []string{"helloworld.HelloReply", ".helloworld.HelloReply.Inner"} {
		if files.Message(name) == nil {
			t.Errorf("%s is unknown", name)
		}
	}
	for _, name := range []string{"helloworld.Greeter", "HelloReply", ""} {
		if files.Message(name) != nil {
			t.Errorf("%q is a message", name)
		}
	}
}

func TestUndefinedMethod(t *testing.T) {
	files, err := Compile(greeter)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][3]string{
		{"helloworld.Greeter", "Say", "undefined service method: helloworld.Greeter/Say: the service has no such method"},
		{"Greeter", "SayHello", "undefined service method: Greeter/SayHello: there is no such service"},
		{"helloworld.HelloReply", "x", "undefined service method: helloworld.HelloReply/x: there is no such service"},
	} {
		if _, err := files.Method(c[0], c[1]); err == nil || err.Error() != c[2] {
			t.Errorf("got %v, want %s", err, c[2])
		}
	}
}

func TestFaults(t *testing.T) {
	for content, want := range map[string]string{
		"syntax = \"proto3\";\nmessage M { Unknown a = 1; }":           "invalid content: line 2: ",
		`syntax = "proto3"; import "other.proto";`:                     "invalid content: line 1: ",
		`syntax = "proto3"; message M { string a = 1; string b = 1; }`: "invalid content: line 1: ",
		"x":                      "invalid content: line 1: ",
		set(t):                   "invalid content: the FileDescriptorSet is empty",
		set(t, outer(), outer()): "invalid content: ",
		set(t, outer()):          "invalid content: ",
		"AAAA":                   "invalid content: no FileDescriptorSet: ",
	} {
		if _, err := Compile(content); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", content, err, want)
		}
	}
}

// outer is a file that imports another one and one of protobuf's.
func outer() *descriptorpb.FileDescriptorProto {
	field := func(name, of string, n int32) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), TypeName: proto.String(of), Number: proto.Int32(n),
			Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
	}
	return &descriptorpb.FileDescriptorProto{
		Name: proto.String("outer.proto"), Package: proto.String("o"), Syntax: proto.String("proto3"),
		Dependency: []string{"inner.proto", "google/protobuf/timestamp.proto"},
		MessageType: []*descriptorpb.DescriptorProto{{
			Name:  proto.String("M"),
			Field: []*descriptorpb.FieldDescriptorProto{field("in", ".i.N", 1), field("at", ".google.protobuf.Timestamp", 2)},
		}},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name:   proto.String("S"),
			Method: []*descriptorpb.MethodDescriptorProto{{Name: proto.String("Do"), InputType: proto.String(".o.M"), OutputType: proto.String(".i.N")}},
		}},
	}
}

func inner() *descriptorpb.FileDescriptorProto {
	return &descriptorpb.FileDescriptorProto{
		Name: proto.String("inner.proto"), Package: proto.String("i"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("N")}},
	}
}

func set(t *testing.T, files ...*descriptorpb.FileDescriptorProto) string {
	t.Helper()
	binary, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: files})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(binary)
}

// TestSet: the files of a set import each other, in any order, and protobuf's own with or without having them along.
func TestSet(t *testing.T) {
	own := protodesc.ToFileDescriptorProto(timestamppb.File_google_protobuf_timestamp_proto)
	for name, content := range map[string]string{
		"without imports": set(t, outer(), inner()),
		"with them":       set(t, own, inner(), outer()),
	} {
		files, err := Compile(content)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		m, err := files.Method("o.S", "Do")
		if err != nil || m.Output().FullName() != "i.N" {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}
