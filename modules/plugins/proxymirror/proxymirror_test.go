// SPDX-License-Identifier: Apache-2.0

package proxymirror

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

// copied is a request that reached a mirror.
type copied struct {
	*http.Request
	body string
}

// newMirror returns the address of a mirror, for HTTP/1.1 and HTTP/2 without TLS, and what reaches it. It answers what a
// client must never see.
func newMirror(t *testing.T) (address string, arrived chan copied) {
	t.Helper()
	arrived = make(chan copied, 64)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		arrived <- copied{r, string(body)}
		w.Header().Set("X-Mirror", "yes")
		w.WriteHeader(http.StatusTeapot)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), arrived
}

func wait(t *testing.T, arrived chan copied) copied {
	t.Helper()
	select {
	case c := <-arrived:
		return c
	case <-time.After(20 * time.Second):
		t.Fatal("no copy came")
		panic("unreachable")
	}
}

func TestCopy(t *testing.T) {
	address, arrived := newMirror(t)
	plugintest.OnEach(t, fmt.Sprintf(`{"proxy-mirror":{"host":"http://%s"}}`, address), func(s *plugintest.Site) {
		body := strings.Repeat("a body ", 20_000)
		got := s.Do("PUT", "/a%2fb%20c//d?x=%31&y", body, "Host", "shop.test", "X-A", "1", "X-A", "2", "Content-Type", "text/x", "TE", "trailers")
		s.Want(got, 200, "node", true)
		if got.Header.Get("X-Mirror") != "" {
			t.Error("the client sees the mirror's answer")
		}
		c := wait(t, arrived)
		if c.Method != s.Saw.Method || c.RequestURI != s.Saw.RequestURI || c.Host != s.Saw.Host || c.body != body || s.SawBody != body {
			t.Errorf("got %s %s %s, %d bytes; the node %s %s %s, %d bytes",
				c.Method, c.Host, c.RequestURI, len(c.body), s.Saw.Method, s.Saw.Host, s.Saw.RequestURI, len(s.SawBody))
		}
		for _, name := range []string{"X-A", "Content-Type", "User-Agent", "X-Forwarded-For", "Te"} {
			if got, want := strings.Join(c.Header.Values(name), ","), strings.Join(s.Saw.Header.Values(name), ","); got != want {
				t.Errorf("%s: got %q, the node %q", name, got, want)
			}
		}
		s.Want(s.Do("GET", "/x", ""), 200, "node", true)
		if c := wait(t, arrived); c.Method != "GET" || c.body != "" || c.ContentLength != 0 || len(c.TransferEncoding) > 0 {
			t.Errorf("got %s with %q, %d, %v", c.Method, c.body, c.ContentLength, c.TransferEncoding)
		}
	})
}

func TestPath(t *testing.T) {
	address, arrived := newMirror(t)
	for config, want := range map[string]string{
		`"path":"/new"`: "/new?q=1",
		`"path":"/new","path_concat_mode":"prefix"`: "/new/a%2Fb?q=1",
	} {
		plugintest.OnEach(t, fmt.Sprintf(`{"proxy-mirror":{"host":"http://%s",%s}}`, address, config), func(s *plugintest.Site) {
			s.Want(s.Do("GET", "/a%2Fb?q=1", ""), 200, "node", true)
			if c := wait(t, arrived); c.RequestURI != want {
				t.Errorf("got %s, want %s", c.RequestURI, want)
			}
		})
	}
}

func TestGRPC(t *testing.T) {
	address, arrived := newMirror(t)
	plugintest.OnEach(t, fmt.Sprintf(`{"proxy-mirror":{"host":"grpc://%s"}}`, address), func(s *plugintest.Site) {
		s.Want(s.Do("POST", "/pkg.Service/Call", "message", "Content-Type", "application/grpc"), 200, "node", true)
		if c := wait(t, arrived); c.Proto != "HTTP/2.0" || c.body != "message" || c.RequestURI != "/pkg.Service/Call" {
			t.Errorf("got %s %s %q", c.Proto, c.RequestURI, c.body)
		}
	})
}

// TestMirrorDown: the client notices nothing.
func TestMirrorDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, host := range []string{l.Addr().String(), "127.0.0.1:1"} {
		plugintest.OnEach(t, fmt.Sprintf(`{"proxy-mirror":{"host":"http://%s"}}`, host), func(s *plugintest.Site) {
			for range 3 {
				s.Want(s.Do("POST", "/", "body"), 200, "node", true)
			}
		})
	}
}

func TestSampling(t *testing.T) {
	for ratio, want := range map[string][2]int{"1": {10_000, 10_000}, "0.25": {2_200, 2_800}, "0.00001": {0, 10}} {
		instance, err := plugintest.Compile(t, name, fmt.Sprintf(`{"host":"http://a","sample_ratio":%s}`, ratio))
		if err != nil {
			t.Fatal(err)
		}
		m, n := instance.(*mirror), 0
		x := new(gateway.Exchange)
		start := time.Unix(1_790_000_000, 0)
		for i := range 10_000 {
			x.Start = start.Add(time.Duration(i) * 1000)
			sampled := m.sampled(x)
			if sampled {
				n++
			}
			if m.sampled(x) != sampled {
				t.Fatal("a request is sampled and not")
			}
		}
		if n < want[0] || n > want[1] {
			t.Errorf("ratio %s: %d of 10 000", ratio, n)
		}
	}
}

func TestTooManyUnderWay(t *testing.T) {
	core, logged := observer.New(zap.WarnLevel)
	log := func() *zap.Logger { return zap.New(core) }
	// Copies of other tests may still be under way.
	before, n := int(underWay.Load()), 0
	for begin(log) {
		n++
	}
	for range 5 {
		begin(log)
	}
	if n < maxUnderWay-before || n > maxUnderWay || logged.Len() != 1 {
		t.Errorf("%d copies under way, %d lines", n, logged.Len())
	}
	for range n {
		end()
	}
	if !begin(log) {
		t.Error("there is room again, and no copy goes")
	}
	end()
}

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"host":"http://a:1"}`, ""},
		{`{"host":"grpcs://[::1]:1","path":"/a"}`, ""},
		{`{}`, `property "host" is required`},
		{`{"host":"a:1"}`, `property "host" validation failed: failed to match pattern`},
		{`{"host":"http://a","path":"/a?b"}`, `property "path" validation failed: failed to match pattern`},
		{`{"host":"http://a","path":"/%zz"}`, `property "path" validation failed: "/%zz" cannot be part of a URL`},
		{`{"host":"http://a","sample_ratio":0}`, `property "sample_ratio" validation failed`},
	})
}
