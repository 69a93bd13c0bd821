// SPDX-License-Identifier: Apache-2.0

package grpcweb

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/nethttp"
	_ "github.com/andogate/ando/modules/plugins/cors"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, "grpc-web", []plugintest.Config{
		{`{}`, ""},
		{`{"cors_allow_headers":"a,b","max_req_body_size":1}`, ""},
		{`{"cors_allow_headers":1}`, `property "cors_allow_headers" validation failed: wrong type: expected string, got number`},
		{`{"max_req_body_size":0}`, `property "max_req_body_size" validation failed: expected 0 to be at least 1`},
	})
}

// service is the node: it repeats payloads, and waits after each message of a stream until the client has it.
type service struct {
	pb.UnimplementedTestServiceServer
	proceed chan bool
}

func (s *service) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	if r.ResponseStatus != nil {
		if r.FillUsername {
			// The head goes out before the status is known.
			if err := grpc.SendHeader(ctx, metadata.Pairs("x-early", "yes")); err != nil {
				return nil, err
			}
			if err := grpc.SetTrailer(ctx, metadata.Pairs("x-late", "yes")); err != nil {
				return nil, err
			}
		}
		return nil, status.Error(codes.Code(r.ResponseStatus.Code), r.ResponseStatus.Message)
	}
	return &pb.SimpleResponse{Payload: r.Payload}, nil
}

func (s *service) StreamingOutputCall(r *pb.StreamingOutputCallRequest, stream pb.TestService_StreamingOutputCallServer) error {
	for _, part := range r.ResponseParameters {
		body := bytes.Repeat([]byte{'x'}, int(part.Size))
		if err := stream.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: body}}); err != nil {
			return err
		}
		<-s.proceed
	}
	return nil
}

func serve(t *testing.T) (addr string, s *service) {
	t.Helper()
	s = &service{proceed: make(chan bool)}
	server := grpc.NewServer()
	pb.RegisterTestServiceServer(server, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String(), s
}

func route(node string) gateway.Object {
	return gateway.Object{Kind: gateway.Routes, ID: "1", Value: fmt.Appendf(nil,
		`{"id":"1","uri":"/web/*","plugins":{"grpc-web":{}},"upstream":{"scheme":"grpc","nodes":{%q:1}}}`, node)}
}

// onEach runs a test on every wire that reaches nodes of gRPC, and on HTTP/2.
func onEach(t *testing.T, node string, test func(t *testing.T, b *browser)) {
	t.Helper()
	for _, wire := range gatewaytest.Wires() {
		if strings.HasPrefix(wire.Name, "push") {
			continue
		}
		t.Run(wire.Name, func(t *testing.T) {
			test(t, &browser{t: t, client: http.DefaultClient, url: "http://" + wire.Serve(t, gatewaytest.Open(t, route(node)))})
		})
	}
	t.Run("HTTP/2", func(t *testing.T) {
		server := httptest.NewUnstartedServer(nethttp.New(nethttp.Config{Gateway: gatewaytest.Open(t, route(node))}))
		server.EnableHTTP2 = true
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		server.StartTLS()
		t.Cleanup(server.Close)
		test(t, &browser{t: t, client: server.Client(), url: server.URL})
	})
}

// browser makes calls as a page does: it sees the head and the body of a response, and no trailers.
type browser struct {
	t      *testing.T
	client *http.Client
	url    string
	text   bool
}

// call sends one message and returns the response, whose body is that of the binary form.
func (b *browser) call(method string, message proto.Message) (*http.Response, io.Reader) {
	b.t.Helper()
	body, err := proto.Marshal(message)
	if err != nil {
		b.t.Fatal(err)
	}
	body = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	mediaType := "application/grpc-web+proto"
	if b.text {
		body, mediaType = []byte(base64.StdEncoding.EncodeToString(body)), "application/grpc-web-text"
	}
	r, err := http.NewRequestWithContext(b.t.Context(), "POST", b.url+"/web/grpc.testing.TestService/"+method, bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", mediaType)
	r.Header.Set("X-Grpc-Web", "1")
	r.Header.Set("Origin", "https://page.example")
	res, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != mediaType || res.Header.Get("Access-Control-Allow-Origin") != "*" ||
		res.Header.Get("Access-Control-Expose-Headers") != "grpc-message,grpc-status" {
		b.t.Fatalf("got %d %v", res.StatusCode, res.Header)
	}
	if b.text {
		return res, &pieces{in: res.Body}
	}
	return res, res.Body
}

// pieces decodes base64 group by group, since each may end with padding.
type pieces struct {
	in   io.Reader
	rest []byte
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		var group [4]byte
		if _, err := io.ReadFull(p.in, group[:]); err != nil {
			return 0, err
		}
		var err error
		if p.rest, err = base64.StdEncoding.DecodeString(string(group[:])); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// frame reads one frame: whether it has the trailers, and what is in it.
func (b *browser) frame(in io.Reader) (trailers bool, content []byte) {
	b.t.Helper()
	var head [5]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		b.t.Fatal(err)
	}
	content = make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(in, content); err != nil {
		b.t.Fatal(err)
	}
	return head[0] == 0x80, content
}

// ends holds the rest of a response to one frame of trailers, in which each of these lines is.
func (b *browser) ends(res *http.Response, in io.Reader, lines ...string) {
	b.t.Helper()
	trailers, content := b.frame(in)
	if !trailers {
		b.t.Fatalf("got a message %q, want trailers", content)
	}
	for _, line := range lines {
		if !strings.Contains(string(content), line+"\r\n") {
			b.t.Errorf("got %q, want %q in it", content, line)
		}
	}
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		b.t.Errorf("got %q (%v) behind the trailers", rest, err)
	}
	if len(res.Trailer) > 0 {
		b.t.Errorf("got trailers %v, want them in the body alone", res.Trailer)
	}
}

func TestUnary(t *testing.T) {
	node, _ := serve(t)
	onEach(t, node, func(t *testing.T, b *browser) {
		for _, b.text = range []bool{false, true} {
			for _, size := range []int{0, 1, 100_000} {
				payload := &pb.Payload{Body: bytes.Repeat([]byte{0xff}, size)}
				res, in := b.call("UnaryCall", &pb.SimpleRequest{Payload: payload})
				trailers, content := b.frame(in)
				var got pb.SimpleResponse
				if err := proto.Unmarshal(content, &got); err != nil || trailers || !proto.Equal(got.Payload, payload) {
					t.Errorf("got %d bytes, %v", len(content), err)
				}
				b.ends(res, in, "grpc-status:0", "grpc-message:")
			}
		}
	})
}

// TestErrors: a status that came behind the head is in the body, one that came in the head is in the head.
func TestErrors(t *testing.T) {
	node, _ := serve(t)
	onEach(t, node, func(t *testing.T, b *browser) {
		for _, b.text = range []bool{false, true} {
			failing := &pb.SimpleRequest{ResponseStatus: &pb.EchoStatus{Code: 5, Message: "not here"}}
			res, in := b.call("UnaryCall", failing)
			body, err := io.ReadAll(in)
			if err != nil || len(body) > 0 || res.Header.Get("Grpc-Status") != "5" || res.Header.Get("Grpc-Message") != "not here" {
				t.Errorf("got %q (%v), %v", body, err, res.Header)
			}
			failing.FillUsername = true
			res, in = b.call("UnaryCall", failing)
			if res.Header.Get("X-Early") != "yes" || res.Header.Get("Grpc-Status") != "" {
				t.Errorf("got %v", res.Header)
			}
			b.ends(res, in, "grpc-status:5", "grpc-message:not here", "x-late:yes")
			res, _ = b.call("Unknown", failing)
			if got := res.Header.Get("Grpc-Status"); got != "12" {
				t.Errorf("got status %s, want 12", got)
			}
		}
	})
}

// TestStream: each message is with the client before the next one is sent.
func TestStream(t *testing.T) {
	node, s := serve(t)
	onEach(t, node, func(t *testing.T, b *browser) {
		for _, b.text = range []bool{false, true} {
			sizes := []int32{1, 2, 3, 70_000}
			request := new(pb.StreamingOutputCallRequest)
			for _, size := range sizes {
				request.ResponseParameters = append(request.ResponseParameters, &pb.ResponseParameters{Size: size})
			}
			res, in := b.call("StreamingOutputCall", request)
			for _, size := range sizes {
				trailers, content := b.frame(in)
				var got pb.StreamingOutputCallResponse
				if err := proto.Unmarshal(content, &got); err != nil || trailers || len(got.Payload.GetBody()) != int(size) {
					t.Fatalf("got %d bytes (%v), want %d", len(got.Payload.GetBody()), err, size)
				}
				s.proceed <- true
			}
			b.ends(res, in, "grpc-status:0")
		}
	})
}

func TestDecodeText(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "YWJj": "abc", "YQ==": "a", "YQ==YmM=ZGVm": "abcdef", "YWJjZA==": "abcd",
	} {
		if got, err := decodeText([]byte(text)); err != nil || string(got) != want {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"Y", "YQ", "YQ=", "=", "====", "YQ=a", "Y!==", "YWJj="} {
		if got, err := decodeText([]byte(text)); err == nil {
			t.Errorf("%q: got %q, want an error", text, got)
		}
	}
}

func FuzzDecodeText(f *testing.F) {
	f.Add([]byte("YQ==YmM=ZGVm"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if plain, err := decodeText(text); err == nil {
			if again, err := decodeText(appendText(nil, plain)); err != nil || !bytes.Equal(again, plain) {
				t.Errorf("got %q, %v, want %q", again, err, plain)
			}
		}
	})
}

func BenchmarkText(b *testing.B) {
	chunk := bytes.Repeat([]byte{1, 2, 3}, 1000)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = appendText(out[:0], chunk)
	}
}
