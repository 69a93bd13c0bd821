// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// TestLargeBodies sends and fetches bodies that are larger than what may be kept of them. ANDO_LARGE is how many bytes.
func TestLargeBodies(t *testing.T) {
	size := int64(64 << 20)
	if text := os.Getenv("ANDO_LARGE"); text != "" {
		var err error
		if size, err = strconv.ParseInt(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			if r.URL.RawQuery == "sized" {
				w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
			}
			_, _ = io.Copy(w, io.LimitReader(endless{}, size))
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d %v", n, err)
	}
	plain := startNode(t, handler)
	h2c := httptest.NewUnstartedServer(http.HandlerFunc(handler))
	h2c.Config.Protocols = new(http.Protocols)
	h2c.Config.Protocols.SetUnencryptedHTTP2(true)
	h2c.Start()
	t.Cleanup(h2c.Close)
	for scheme, node := range map[string]string{"http": plain, "grpc": h2c.Listener.Addr().String()} {
		u := upstreamOf(t, node)
		u.Scheme = scheme
		s := serveRoute(t, &gateway.Route{Upstream: u})
		for _, c := range []struct {
			name, method, query string
			length              int64
		}{
			{"response of known length", "GET", "?sized", size},
			{"response", "GET", "", -1},
			{"request of known length", "PUT", "", size},
			{"request", "PUT", "", -1},
		} {
			t.Run(scheme+" "+c.name, func(t *testing.T) {
				var body io.Reader
				if c.method == "PUT" {
					body = io.LimitReader(endless{}, size)
				}
				request, err := http.NewRequest(c.method, s.URL+"/"+c.query, body)
				if err != nil {
					t.Fatal(err)
				}
				if c.method == "PUT" {
					request.ContentLength = c.length
				}
				most := watchMemory(t)
				response, err := http.DefaultTransport.RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				if c.method == "PUT" {
					if got, err := io.ReadAll(response.Body); string(got) != fmt.Sprintf("%d <nil>", size) {
						t.Errorf("the node got %s, %v", got, err)
					}
				} else {
					if response.ContentLength != c.length {
						t.Errorf("a length of %d, want %d", response.ContentLength, c.length)
					}
					if n, err := io.Copy(io.Discard, response.Body); n != size || err != nil {
						t.Errorf("%d bytes, %v", n, err)
					}
				}
				if grown := most(); grown > 24<<20 {
					t.Errorf("memory in use grew by %d KiB for %d MiB", grown>>10, size>>20)
				} else {
					t.Logf("memory in use grew by %d KiB for %d MiB", grown>>10, size>>20)
				}
			})
		}
	}
}

// watchMemory returns a function that says by how many bytes the heap in use had grown at most.
func watchMemory(t *testing.T) func() int64 {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse)
	}
	runtime.GC()
	before := heap()
	stop, most := make(chan struct{}), make(chan int64)
	go func() {
		samples := time.NewTicker(5 * time.Millisecond)
		defer samples.Stop()
		for top := before; ; top = max(top, heap()) {
			select {
			case <-stop:
				most <- top
				return
			case <-samples.C:
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-most - before
	}
}
