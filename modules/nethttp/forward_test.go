// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

func TestForwards(t *testing.T) {
	var got *http.Request
	var gotBody string
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got, gotBody = r, string(body)
		w.Header().Add("X-Reply", "one")
		w.Header().Add("X-Reply", "two")
		w.Header().Set("Server", "node")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "answer")
	})
	s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node)})
	response, body := do(t, "PUT", s.URL+"/a%2Fb/c?x=1&y=%20", strings.NewReader("question"),
		"Host", "shop.example", "X-Ask", "1", "X-Ask", "2", "User-Agent", "")
	wantStatus(t, response, http.StatusTeapot)
	if body != "answer" {
		t.Errorf("body %q", body)
	}
	if got := response.Header["X-Reply"]; len(got) != 2 || got[0] != "one" || got[1] != "two" {
		t.Errorf("X-Reply %q", got)
	}
	if got := response.Header["Server"]; len(got) != 1 || got[0] != "APISIX/"+gateway.CompatibleVersion {
		t.Errorf("Server %q", got)
	}
	if got.Method != "PUT" || got.RequestURI != "/a%2Fb/c?x=1&y=%20" || got.Host != "shop.example" || gotBody != "question" {
		t.Errorf("node got %s %s for %s: %q", got.Method, got.RequestURI, got.Host, gotBody)
	}
	if got.ContentLength != 8 {
		t.Errorf("node got a length of %d", got.ContentLength)
	}
	if got := got.Header["X-Ask"]; len(got) != 2 || got[0] != "1" || got[1] != "2" {
		t.Errorf("node got X-Ask %q", got)
	}
	for _, name := range []string{"User-Agent", "Accept-Encoding"} {
		if got, ok := got.Header[name]; ok && name == "User-Agent" {
			t.Errorf("the gateway added %s %q", name, got)
		}
	}
}

func TestWeights(t *testing.T) {
	var counts [2]atomic.Int64
	var nodes []string
	for i, weight := range []int{3, 1} {
		nodes = append(nodes, fmt.Sprintf("%s=%d", startNode(t, func(http.ResponseWriter, *http.Request) { counts[i].Add(1) }), weight))
	}
	s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, nodes...)})
	for range 40 {
		do(t, "GET", s.URL, nil)
	}
	if a, b := counts[0].Load(), counts[1].Load(); a != 30 || b != 10 {
		t.Errorf("%d and %d requests, want 30 and 10", a, b)
	}
}

func TestRetriesAfterConnectError(t *testing.T) {
	echo := startNode(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	u := ordered(t, deadNode(t), deadNode(t), echo)
	s := serveRoute(t, &gateway.Route{Upstream: u})
	// Nothing was sent, so even a streamed POST can be sent elsewhere.
	response, body := do(t, "POST", s.URL, io.MultiReader(strings.NewReader("streamed")))
	wantStatus(t, response, 200)
	if body != "streamed" {
		t.Errorf("body %q", body)
	}
	for _, node := range u.Nodes {
		if n := node.State.InFlight.Load(); n != 0 {
			t.Errorf("%s still has %d attempts under way", node.Addr, n)
		}
	}

	u.Retries = 1
	response, _ = do(t, "GET", s.URL, nil)
	wantStatus(t, response, 502)
	if got := response.Header.Get("X-APISIX-Upstream-Status"); got != "502, 502" {
		t.Errorf("upstream status %q", got)
	}

	u.RetryTimeout = time.Nanosecond
	response, _ = do(t, "GET", s.URL, nil)
	wantStatus(t, response, 502)
	if got := response.Header.Get("X-APISIX-Upstream-Status"); got != "502" {
		t.Errorf("after the time for retries: upstream status %q", got)
	}
}

// hangUp is a node that reads whole requests and closes the connection without an answer.
func hangUp(t testing.TB, requests *atomic.Int64) string {
	return rawNode(t, func(_ net.Conn, r *bufio.Reader) {
		if request, err := http.ReadRequest(r); err == nil {
			_, _ = io.Copy(io.Discard, request.Body)
			requests.Add(1)
		}
	})
}

func TestRepeatsOnlyWhatMayBeRepeated(t *testing.T) {
	buffering := chainOf(&hooks{readsBody: 1 << 10})
	replacing := chainOf(&hooks{rewrite: func(x *gateway.Exchange) gateway.Verdict {
		x.ReplaceBody([]byte("replaced"))
		return gateway.Continue
	}})
	for _, c := range []struct {
		name, method, body string
		chain              *gateway.Chain
		want               int
	}{
		{"GET", "GET", "", nil, 200},
		{"DELETE", "DELETE", "", nil, 200},
		{"POST", "POST", "", nil, 502},
		{"PATCH", "PATCH", "", nil, 502},
		{"streamed PUT", "PUT", "body", nil, 502},
		{"buffered PUT", "PUT", "body", buffering, 200},
		{"replaced PUT", "PUT", "body", replacing, 200},
		{"buffered POST", "POST", "body", buffering, 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			var broken, good atomic.Int64
			var got atomic.Value
			u := ordered(t, hangUp(t, &broken), startNode(t, func(_ http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got.Store(string(body))
				good.Add(1)
			}))
			s := serveRoute(t, &gateway.Route{Upstream: u, Chain: c.chain})
			response, _ := do(t, c.method, s.URL, strings.NewReader(c.body))
			wantStatus(t, response, c.want)
			if broken.Load() != 1 {
				t.Errorf("the first node had %d requests", broken.Load())
			}
			want := c.body
			if c.chain == replacing {
				want = "replaced"
			}
			if c.want == 200 && got.Load() != want {
				t.Errorf("the second node got %q", got.Load())
			}
			if c.want != 200 && good.Load() != 0 {
				t.Error("the request was repeated")
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	const short = 30 * time.Millisecond
	silent := func(t *testing.T) string {
		return rawNode(t, func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	}
	t.Run("connect", func(t *testing.T) {
		// It takes the connection and never answers the handshake.
		u := upstreamOf(t, silent(t))
		u.Scheme, u.Timeout.Connect = "https", short
		s := serveRoute(t, &gateway.Route{Upstream: u})
		response, _ := do(t, "GET", s.URL, nil)
		wantStatus(t, response, 504)
	})
	t.Run("read", func(t *testing.T) {
		u := upstreamOf(t, silent(t))
		s := serveRoute(t, &gateway.Route{Upstream: u, Timeout: gateway.Timeout{Read: short}})
		response, body := do(t, "GET", s.URL, nil)
		wantStatus(t, response, 504)
		if !strings.Contains(body, "504 Gateway Timeout") {
			t.Errorf("body %q", body)
		}
	})
	t.Run("send", func(t *testing.T) {
		hold := make(chan struct{})
		node := rawNode(t, func(net.Conn, *bufio.Reader) { <-hold })
		t.Cleanup(func() { close(hold) })
		u := upstreamOf(t, node)
		u.Timeout.Send = short
		s := serveRoute(t, &gateway.Route{Upstream: u})
		response, _ := do(t, "POST", s.URL, io.LimitReader(endless{}, 64<<20))
		wantStatus(t, response, 504)
	})
	t.Run("a repeatable request goes to the next node", func(t *testing.T) {
		u := ordered(t, silent(t), startNode(t, func(http.ResponseWriter, *http.Request) {}))
		u.Timeout.Read = short
		s := serveRoute(t, &gateway.Route{Upstream: u})
		response, _ := do(t, "GET", s.URL, nil)
		wantStatus(t, response, 200)
	})
	t.Run("within the body", func(t *testing.T) {
		u := upstreamOf(t, rawNode(t, func(c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
			_, _ = io.Copy(io.Discard, r)
		}))
		u.Timeout.Read = short
		s := serveRoute(t, &gateway.Route{Upstream: u})
		if answer := exchangeRaw(t, s.Listener.Addr().String(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); strings.Count(answer, "HTTP/1.1") > 1 {
			t.Errorf("got %q", answer)
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestClientTimeIsNotTheNodes: while the attempt waits for the client's body its clock stands.
func TestClientTimeIsNotTheNodes(t *testing.T) {
	expired := make(chan struct{})
	a := &attempt{cancel: func() { close(expired) }, timeout: gateway.Timeout{Send: time.Nanosecond}}
	a.timer = time.AfterFunc(time.Hour, a.expire)
	a.pause()
	if a.timer.Stop() {
		t.Error("the clock runs while the client is waited for")
	}
	a.resume()
	<-expired
	if !a.timedOut {
		t.Error("the clock did not go on")
	}
}

// TestSendTimeIsBetweenTwoPieces: the clock starts anew with each piece of a body, also of one that is at hand as a whole,
// and with each informational response.
func TestSendTimeIsBetweenTwoPieces(t *testing.T) {
	expired := make(chan struct{}, 1)
	a := &attempt{cancel: func() { expired <- struct{}{} }, timeout: gateway.Timeout{Send: time.Nanosecond, Read: time.Nanosecond}}
	a.timer = time.AfterFunc(time.Hour, a.expire)
	body, _ := bytesBody(a, []byte("whole"))
	if _, err := body.Read(make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	<-expired
	a.wrote = true
	if err := a.inform(103, nil); err != nil {
		t.Fatal(err)
	}
	<-expired
}

func TestStreamsBothWays(t *testing.T) {
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.WriteHeader(200)
		_ = rc.Flush()
		var b [1]byte
		for {
			if _, err := io.ReadFull(r.Body, b[:]); err != nil {
				return
			}
			_, _ = w.Write([]byte{b[0] + 1})
			_ = rc.Flush()
		}
	})
	s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node)})
	out, in := io.Pipe()
	request, err := http.NewRequest("POST", s.URL, out)
	if err != nil {
		t.Fatal(err)
	}
	// The head comes before any of the body was sent.
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var b [1]byte
	for i := range 50 {
		if _, err := in.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(response.Body, b[:]); err != nil || b[0] != byte(i)+1 {
			t.Fatalf("byte %d came back as %d, %v", i, b[0], err)
		}
	}
	_ = in.Close()
	if _, err := response.Body.Read(b[:]); err != io.EOF {
		t.Errorf("got %v, want the end", err)
	}
}

func TestDisconnectCancelsTheNodesRequest(t *testing.T) {
	arrived, gone, logged := make(chan struct{}), make(chan struct{}), make(chan int, 1)
	node := startNode(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(gone)
	})
	u := ordered(t, node, node)
	s := serveRoute(t, &gateway.Route{Upstream: u, Chain: chainOf(&hooks{log: func(x *gateway.Exchange) {
		if n := len(x.Forward.Attempts); n != 1 || x.Forward.Attempts[0].Failure != gateway.NoFailure {
			t.Errorf("%d attempts, the first failed: the node was blamed for the client", n)
		}
		logged <- x.Response.Status
	}})})
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		response, err := http.DefaultTransport.RoundTrip(request)
		if err == nil {
			_ = response.Body.Close()
		}
		failed <- err
	}()
	<-arrived
	cancel()
	if <-failed == nil {
		t.Error("the client got a response")
	}
	<-gone
	if status := <-logged; status != 499 {
		t.Errorf("logged status %d, want 499", status)
	}
	if n := u.Nodes[0].State.InFlight.Load(); n != 0 {
		t.Errorf("%d attempts under way", n)
	}
}

func TestNodeBreakingOffBreaksTheClientsConnection(t *testing.T) {
	for name, head := range map[string]string{
		"sized":   "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			node := rawNode(t, func(c net.Conn, r *bufio.Reader) {
				_, _ = http.ReadRequest(r)
				_, _ = io.WriteString(c, head)
			})
			s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node)})
			answer := exchangeRaw(t, s.Listener.Addr().String(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if strings.HasSuffix(answer, "0\r\n\r\n") || strings.Count(answer, "HTTP/1.1") > 1 {
				t.Errorf("the response looks whole: %q", answer)
			}
		})
	}
}

func TestTrailers(t *testing.T) {
	var got http.Header
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got = r.Trailer
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-Late", "yes")
	})
	for name, chain := range map[string]*gateway.Chain{"streamed": nil, "buffered": chainOf(&hooks{readsBody: 100})} {
		t.Run(name, func(t *testing.T) {
			s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node), Chain: chain})
			request, err := http.NewRequest("POST", s.URL, io.MultiReader(strings.NewReader("body")))
			if err != nil {
				t.Fatal(err)
			}
			request.Trailer = http.Header{
				"X-Digest": {"abc"}, "X_consumer_username": {"root"}, "X-Real-Ip": {"10.0.0.1"}, "Authorization": {"x"},
			}
			response, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if body, err := io.ReadAll(response.Body); err != nil || string(body) != "body" {
				t.Errorf("body %q, %v", body, err)
			}
			if got.Get("X-Digest") != "abc" || len(got) != 1 {
				t.Errorf("node got trailers %v", got)
			}
			if response.Trailer.Get("X-Sum") != "42" || response.Trailer.Get("X-Late") != "yes" {
				t.Errorf("client got trailers %v", response.Trailer)
			}
		})
	}
}

func TestInformationalResponses(t *testing.T) {
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header().Del("Connection")
		_, _ = io.Copy(w, r.Body)
	})
	s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node)})
	var mu sync.Mutex
	var codes []int
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			mu.Lock()
			defer mu.Unlock()
			codes = append(codes, code)
			if code == 103 && (header.Get("Link") == "" || header.Get("X-Hop") != "") {
				t.Errorf("103 with %v", header)
			}
			return nil
		},
	})
	request, err := http.NewRequestWithContext(ctx, "POST", s.URL, strings.NewReader("after 100"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Expect", "100-continue")
	transport := &http.Transport{ExpectContinueTimeout: time.Hour}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); string(body) != "after 100" {
		t.Errorf("body %q", body)
	}
	if response.Header.Get("Link") != "" {
		t.Error("the fields of the 103 are in the response")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(codes) != 2 || codes[0]+codes[1] != 203 {
		t.Errorf("got %v, want a 100 and a 103", codes)
	}
}

func TestTooManyInformationalResponses(t *testing.T) {
	node := rawNode(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		for range maxInformations + 1 {
			_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n")
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_, _ = io.Copy(io.Discard, r)
	})
	s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node)})
	response, _ := do(t, "GET", s.URL, nil)
	wantStatus(t, response, 502)
}
