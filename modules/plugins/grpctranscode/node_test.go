// SPDX-License-Identifier: Apache-2.0

package grpctranscode

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/protos"
)

// echoProto describes a service that answers with what it is sent.
const echoProto = `syntax = "proto3";
package test;
import "google/protobuf/timestamp.proto";
service Echo {
  rpc Say (All) returns (All);
  rpc Repeat (All) returns (stream All);
  rpc Ask (All) returns (Answer);
}
enum Color { RED = 0; GREEN = 1; BLUE = 7; }
message Inner { string text = 1; Inner deeper = 2; }
message All {
  string text = 1;
  int32 small = 2;
  int64 long = 3;
  uint64 longer = 4;
  bool truth = 5;
  double number = 6;
  float part = 7;
  bytes raw = 8;
  Color color = 9;
  Inner inner = 10;
  repeated int32 list = 11;
  repeated Inner inners = 12;
  map<string, int64> sizes = 13;
  map<int32, Inner> numbered = 14;
  oneof choice { string left = 15; int32 right = 16; }
  optional int32 maybe = 17;
  google.protobuf.Timestamp at = 18;
  fixed32 fixed = 19;
}
message Answer { string text = 1; }
message Detail { int32 code = 1; string message = 2; string type = 3; }
`

// call is what the node gets to see of one call, and answers with.
type call struct {
	ctx     context.Context
	message *dynamicpb.Message
	// stream is of a method that streams.
	stream grpc.ServerStream
}

// text is the field of that name of the request.
func (c *call) text() string {
	return c.message.Get(c.message.Descriptor().Fields().ByName("text")).String()
}

// metadata is what was sent of a field.
func (c *call) metadata(name string) string {
	all, _ := metadata.FromIncomingContext(c.ctx)
	return strings.Join(all.Get(name), ",")
}

// serve starts a gRPC server of the service and returns its address. answer may change the message that is sent back.
func serve(t *testing.T, answer func(c *call) error) string {
	t.Helper()
	files, err := protos.Compile(echoProto)
	if err != nil {
		t.Fatal(err)
	}
	input := files.Message("test.All")
	unary := func(output protoreflect.MessageDescriptor) grpc.MethodHandler {
		return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			c := &call{ctx: ctx, message: dynamicpb.NewMessage(input)}
			if err := decode(c.message); err != nil {
				return nil, err
			}
			if err := answer(c); err != nil {
				return nil, err
			}
			if output == input {
				return c.message, nil
			}
			return dynamicpb.NewMessage(output), nil
		}
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Say", Handler: unary(input)},
			{MethodName: "Ask", Handler: unary(files.Message("test.Answer"))},
		},
		Streams: []grpc.StreamDesc{{
			StreamName: "Repeat", ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
				c := &call{ctx: stream.Context(), message: dynamicpb.NewMessage(input), stream: stream}
				if err := stream.RecvMsg(c.message); err != nil {
					return err
				}
				return answer(c)
			},
		}},
	}, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

func protoObject(id, content string) gateway.Object {
	value, err := json.Marshal(map[string]string{"id": id, "content": content})
	if err != nil {
		panic(err)
	}
	return gateway.Object{Kind: gateway.Protos, ID: id, Value: value}
}

// routeTo is a route whose node speaks gRPC. config is that of the plugin, without its braces, beside the service.
func routeTo(id, uri, node, config string) gateway.Object {
	if config != "" {
		config = "," + config
	}
	return gateway.Object{Kind: gateway.Routes, ID: id, Value: fmt.Appendf(nil,
		`{"id":%q,"uri":%q,"plugins":{"grpc-transcode":{"proto_id":"1","service":"test.Echo"%s}},"upstream":{"scheme":"grpc","nodes":{%q:1}}}`,
		id, uri, config, node)}
}

// onEach runs a test on every wire that reaches nodes of gRPC: a lane does so through net/http.
func onEach(t *testing.T, test func(t *testing.T, url string), objects ...gateway.Object) {
	t.Helper()
	for _, wire := range gatewaytest.Wires() {
		if strings.HasPrefix(wire.Name, "push") {
			continue
		}
		t.Run(wire.Name, func(t *testing.T) {
			test(t, "http://"+wire.Serve(t, gatewaytest.Open(t, objects...)))
		})
	}
}

// answered is a response as a client has it.
type answered struct {
	*http.Response
	body string
}

func do(t *testing.T, method, url, contentType, body string, fields ...string) answered {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{res, string(read)}
}

func (a answered) want(t *testing.T, what string, status int, body string) {
	t.Helper()
	if a.StatusCode != status || a.body != body {
		t.Errorf("%s: got %d %s\nwant %d %s", what, a.StatusCode, a.body, status, body)
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// interopSet returns the descriptors of gRPC's interoperability tests as a proto object has them, and the address of a
// server of them.
func interopSet(t *testing.T) (content, addr string) {
	t.Helper()
	set := new(descriptorpb.FileDescriptorSet)
	var add func(file protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		imports := file.Imports()
		for i := range imports.Len() {
			add(imports.Get(i).FileDescriptor)
		}
		described := protodesc.ToFileDescriptorProto(file)
		for _, before := range set.File {
			if before.GetName() == described.GetName() {
				return
			}
		}
		set.File = append(set.File, described)
	}
	add(pb.File_grpc_testing_test_proto)
	binary, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterTestServiceServer(server, interop.NewTestServer())
	l := listen(t)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return base64.StdEncoding.EncodeToString(binary), l.Addr().String()
}

// echo returns the compiled config of Say, and a message with something in every field.
func echo(t testing.TB) (*transcode, *dynamicpb.Message) {
	t.Helper()
	files, err := protos.Compile(echoProto)
	if err != nil {
		t.Fatal(err)
	}
	method, err := files.Method("test.Echo", "Say")
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(method.Input())
	if err := fill(m, map[string]any{
		"text": "some text", "small": "7", "long": "1", "list": []any{"1", "2"}, "inner": map[string]any{"text": "i"}, "color": "BLUE",
	}); err != nil {
		t.Fatal(err)
	}
	return &transcode{method: method}, m
}
