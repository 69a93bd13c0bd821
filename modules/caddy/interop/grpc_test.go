// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

// grpcCases are the cases of gRPC's interoperability tests that need neither Google's cloud nor a load balancer in the
// client, which pick_first_unary and the orca cases are about.
var grpcCases = []struct {
	name string
	run  func(context.Context, *grpc.ClientConn, pb.TestServiceClient)
}{
	{"empty_unary", plainCase(interop.DoEmptyUnaryCall)},
	{"large_unary", plainCase(interop.DoLargeUnaryCall)},
	{"client_streaming", plainCase(interop.DoClientStreaming)},
	{"server_streaming", plainCase(interop.DoServerStreaming)},
	{"ping_pong", plainCase(interop.DoPingPong)},
	{"empty_stream", plainCase(interop.DoEmptyStream)},
	{sleeping, plainCase(interop.DoTimeoutOnSleepingServer)},
	{"cancel_after_begin", plainCase(interop.DoCancelAfterBegin)},
	{"cancel_after_first_response", plainCase(interop.DoCancelAfterFirstResponse)},
	{"status_code_and_message", plainCase(interop.DoStatusCodeAndMessage)},
	{"special_status_message", plainCase(interop.DoSpecialStatusMessage)},
	{"custom_metadata", plainCase(interop.DoCustomMetadata)},
	{"unimplemented_method", func(ctx context.Context, conn *grpc.ClientConn, _ pb.TestServiceClient) {
		interop.DoUnimplementedMethod(ctx, conn)
	}},
	{"unimplemented_service", func(ctx context.Context, conn *grpc.ClientConn, _ pb.TestServiceClient) {
		interop.DoUnimplementedService(ctx, pb.NewUnimplementedServiceClient(conn))
	}},
	{"rpc_soak", soak(func(conn *grpc.ClientConn) (*grpc.ClientConn, func()) { return conn, func() {} })},
	{"channel_soak", soak(func(conn *grpc.ClientConn) (*grpc.ClientConn, func()) {
		own := dialGRPC(conn.Target(), os.Getenv(grpcRoot))
		return own, func() { _ = own.Close() }
	})},
}

func plainCase(do func(context.Context, pb.TestServiceClient, ...grpc.CallOption)) func(context.Context, *grpc.ClientConn, pb.TestServiceClient) {
	return func(ctx context.Context, _ *grpc.ClientConn, client pb.TestServiceClient) { do(ctx, client) }
}

func soak(channel func(*grpc.ClientConn) (*grpc.ClientConn, func())) func(context.Context, *grpc.ClientConn, pb.TestServiceClient) {
	return func(ctx context.Context, conn *grpc.ClientConn, _ pb.TestServiceClient) {
		iterations := 10
		if full {
			iterations = 1000
		}
		interop.DoSoakTest(ctx, interop.SoakTestConfig{
			RequestSize: 271828, ResponseSize: 314159, PerIterationMaxAcceptableLatency: patience, OverallTimeout: 10 * time.Minute,
			ServerAddr: conn.Target(), NumWorkers: 2, Iterations: iterations,
			ChannelForTest: func() (*grpc.ClientConn, func()) { return channel(conn) },
		})
	}
}

// The cases end their process when they fail, so each run of them has one of its own: this test program, told so by these.
const (
	grpcTarget = "ANDO_INTEROP_GRPC"
	grpcRoot   = "ANDO_INTEROP_GRPC_ROOT"
	grpcBut    = "ANDO_INTEROP_GRPC_BUT"
)

func TestMain(m *testing.M) {
	if target := os.Getenv(grpcTarget); target != "" {
		conn := dialGRPC(target, os.Getenv(grpcRoot))
		but := strings.Fields(os.Getenv(grpcBut))
		for _, c := range grpcCases {
			if slices.Contains(but, c.name) {
				continue
			}
			c.run(context.Background(), conn, pb.NewTestServiceClient(conn))
			fmt.Println("passed", c.name)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// dialGRPC returns a client of the target: over TLS when there is a root to trust, else HTTP/2 with prior knowledge.
func dialGRPC(target, root string) *grpc.ClientConn {
	security := insecure.NewCredentials()
	if root != "" {
		security = credentials.NewTLS((&identity{certificate: root}).trusts())
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(security))
	if err != nil {
		panic(err)
	}
	return conn
}

// serveGRPC starts a gRPC server and returns its address.
func serveGRPC(t *testing.T, service pb.TestServiceServer, certificate *tls.Certificate) string {
	t.Helper()
	var options []grpc.ServerOption
	if certificate != nil {
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(certificate)))
	}
	server := grpc.NewServer(options...)
	pb.RegisterTestServiceServer(server, service)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

// TestGRPCInterop runs grpc-go's interoperability client through Ando to its server, over every way in and out.
func TestGRPCInterop(t *testing.T) {
	pair := newIdentity(t, "localhost").pair(t)
	nodes := map[string]string{
		"grpc":  serveGRPC(t, interop.NewTestServer(), nil),
		"grpcs": serveGRPC(t, interop.NewTestServer(), &pair),
	}
	for _, c := range []struct {
		in, out string
		long    bool
	}{{"h2c", "grpc", false}, {"tls", "grpcs", false}, {"h2c", "grpcs", true}, {"tls", "grpc", true}} {
		t.Run(c.in+" to "+c.out, func(t *testing.T) {
			if c.long && !full {
				t.Skip("only with ANDO_INTEROP=full")
			}
			a := start(t, "auto", route(to(c.out, nodes[c.out])))
			target, root := a.plain, ""
			if c.in == "tls" {
				target, root = a.secure, a.identity.certificate
			}
			runGRPCCases(t, target, root, undecided()...)
		})
	}
}

// sleeping is a call with a deadline of one millisecond.
const sleeping = "timeout_on_sleeping_server"

// undecided are the cases whose outcome depends on whose clock is first, the client's or the node's: when it is the node's,
// the stream is reset, and to the client that is no answer. They are left to the long form.
func undecided() []string {
	if full {
		return nil
	}
	return []string{sleeping}
}

// runGRPCCases runs the cases but some against a target.
func runGRPCCases(t *testing.T, target, root string, but ...string) {
	t.Helper()
	client := exec.CommandContext(t.Context(), os.Args[0])
	client.Env = append(os.Environ(), grpcTarget+"="+target, grpcRoot+"="+root, grpcBut+"="+strings.Join(but, " "))
	output, err := client.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	t.Logf("%s", output)
}

// deadlines is a service whose calls end with their deadline, and tell when they have.
type deadlines struct {
	pb.UnimplementedTestServiceServer
	ended chan time.Duration
}

func (d *deadlines) EmptyCall(ctx context.Context, _ *pb.Empty) (*pb.Empty, error) {
	deadline, ok := ctx.Deadline()
	left := time.Until(deadline)
	if !ok {
		left = 0
	}
	<-ctx.Done()
	d.ended <- left
	return nil, ctx.Err()
}

// TestGRPCDeadline: the node learns the client's deadline, and that the client has gone.
func TestGRPCDeadline(t *testing.T) {
	service := &deadlines{ended: make(chan time.Duration, 1)}
	a := start(t, "auto", route(to("grpc", serveGRPC(t, service, nil))))
	conn := dialGRPC(a.plain, "")
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := pb.NewTestServiceClient(conn).EmptyCall(ctx, new(pb.Empty))
	// The node's clock may be the first to say so, and it then resets the stream, which to the client is no answer.
	if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	if left := <-service.ended; left <= 0 || left > 200*time.Millisecond {
		t.Errorf("the node had %v left, want what the client had", left)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	_, err = pb.NewTestServiceClient(conn).EmptyCall(ctx, new(pb.Empty))
	if status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
}

// TestGRPCErrors: what the gateway itself answers means to a gRPC client what it should.
func TestGRPCErrors(t *testing.T) {
	slow := to("grpc", serveGRPC(t, &deadlines{ended: make(chan time.Duration, 1)}, nil))
	slow["timeout"] = fields{"connect": 1, "send": 1, "read": 0.05}
	const method = "/grpc.testing.TestService/EmptyCall"
	for _, c := range []struct {
		name  string
		route object
		want  codes.Code
	}{
		{"no route", object{"routes", "r", fields{"uri": "/other", "upstream": slow}}, codes.Unimplemented},
		{"no node", route(fields{"scheme": "grpc", "nodes": fields{}}), codes.Unavailable},
		{"no such node", route(to("grpc", freeAddress(t))), codes.Unavailable},
		{"slow node", route(slow), codes.Unavailable},
		{"no key", object{"routes", "r", fields{"uri": method, "upstream": slow, "plugins": fields{"key-auth": fields{}}}}, codes.Unauthenticated},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := start(t, "auto", c.route)
			conn := dialGRPC(a.plain, "")
			defer conn.Close()
			_, err := pb.NewTestServiceClient(conn).EmptyCall(t.Context(), new(pb.Empty))
			if status.Code(err) != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
