// SPDX-License-Identifier: Apache-2.0

package batchrequests

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	_ "github.com/andogate/ando/modules/plugins/mocking"
	_ "github.com/andogate/ando/modules/plugins/publicapi"
	_ "github.com/andogate/ando/modules/plugins/realip"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

// onEach runs a test on every wire, with a route to the endpoint and one to a node.
func onEach(t *testing.T, node http.HandlerFunc, test func(t *testing.T, ask func(batch string) (int, string))) {
	t.Helper()
	server := httptest.NewServer(node)
	t.Cleanup(server.Close)
	for _, wire := range gatewaytest.Wires() {
		t.Run(wire.Name, func(t *testing.T) {
			object := func(id, format string, args ...any) gateway.Object {
				return gateway.Object{Kind: gateway.Routes, ID: id, Value: fmt.Appendf(nil, format, args...)}
			}
			url := "http://" + wire.Serve(t, gatewaytest.Open(t,
				object("api", `{"id":"api","uri":"/batch","plugins":{"public-api":{"uri":%q},"real-ip":{"source":"http_x_client"}}}`, endpoint),
				object("node", `{"id":"node","uri":"/*","upstream":{"nodes":{%q:1}}}`, server.Listener.Addr()),
			))
			test(t, func(batch string) (int, string) {
				t.Helper()
				r, err := http.NewRequestWithContext(t.Context(), "POST", url+"/batch", strings.NewReader(batch))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("X-Client", "192.0.2.1")
				res, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				if err != nil {
					t.Fatal(err)
				}
				return res.StatusCode, string(body)
			})
		})
	}
}

// outcome is one member of an answer.
type outcome struct {
	Status int
	Reason string
	Body   string
}

func decode(t *testing.T, body string) (all []outcome) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return all
}

// TestOrder: one request begins when the one before it has its response.
func TestOrder(t *testing.T) {
	running := make(chan string, 1)
	onEach(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case running <- r.URL.Path:
			_, _ = io.WriteString(w, r.URL.Path+" for "+r.Header.Get("X-Real-IP"))
			<-running
		default:
			http.Error(w, "two at once", http.StatusConflict)
		}
	}, func(t *testing.T, ask func(string) (int, string)) {
		var paths []string
		for i := range 20 {
			paths = append(paths, fmt.Sprintf(`{"path":"/%d"}`, i))
		}
		status, body := ask(`{"pipeline":[` + strings.Join(paths, ",") + `]}`)
		all := decode(t, body)
		if status != 200 || len(all) != 20 {
			t.Fatalf("got %d %s", status, body)
		}
		for i, got := range all {
			// The client is who the batch's route says.
			if want := fmt.Sprintf("/%d for 192.0.2.1", i); got.Status != 200 || got.Body != want {
				t.Errorf("got %+v, want %s", got, want)
			}
		}
	})
}

// TestTimeout: a request that takes too long has APISIX's stand-in, and leaves the next ones alone.
func TestTimeout(t *testing.T) {
	onEach(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/head":
			<-r.Context().Done()
		case "/body":
			w.WriteHeader(200)
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		default:
			_, _ = io.WriteString(w, "fast")
		}
	}, func(t *testing.T, ask func(string) (int, string)) {
		_, body := ask(`{"timeout":50,"pipeline":[{"path":"/head"},{"path":"/body"}]}`)
		for _, got := range decode(t, body) {
			if got.Status != 504 || got.Reason != "upstream timeout" || got.Body != "" {
				t.Errorf("got %+v", got)
			}
		}
		if _, body := ask(`{"timeout":0,"pipeline":[{"path":"/fast"}]}`); decode(t, body)[0].Body != "fast" {
			t.Errorf("got %s", body)
		}
	})
}

func TestTimeoutText(t *testing.T) {
	for milliseconds, want := range map[float64]time.Duration{
		-1: defaultTimeout, 0: defaultTimeout, 1: time.Millisecond, 1500: 1500 * time.Millisecond, 1e18: maxTimeout,
	} {
		if got := (&batch{Timeout: milliseconds}).timeout(); got != want {
			t.Errorf("%v: got %v, want %v", milliseconds, got, want)
		}
	}
}

// TestFailures: what stands for a response that there is not.
func TestFailures(t *testing.T) {
	for err, want := range map[error]string{
		context.DeadlineExceeded:    `{"status":504,"reason":"upstream timeout"}`,
		gateway.ErrMalformed:        `{"status":400,"reason":"malformed request"}`,
		gateway.ErrResponseTooLarge: `{"status":502,"reason":"response is too large"}`,
		gateway.ErrResponseBroken:   `{"status":502,"reason":"the response broke off"}`,
	} {
		if got := string(appendFailure(nil, err)); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
	}
}

func FuzzReadBatch(f *testing.F) {
	f.Add([]byte(`{"query":{"a":[1,true]},"headers":{"b":"c"},"timeout":1,"pipeline":[{"path":"/a?b"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := readBatch(body, 10)
		if err != nil {
			return
		}
		x := new(gateway.Exchange)
		for i := range b.Pipeline {
			if r := b.subrequest(x, &b.Pipeline[i]); r.Target == "" || r.Method == "" {
				t.Errorf("got %+v", r)
			}
		}
	})
}

func BenchmarkBatch(b *testing.B) {
	body := []byte(`{"query":{"a":1},"headers":{"b":"c"},"pipeline":[{"path":"/a"},{"path":"/b","method":"POST","body":"text"}]}`)
	x := new(gateway.Exchange)
	b.ReportAllocs()
	for b.Loop() {
		read, err := readBatch(body, 10)
		if err != nil {
			b.Fatal(err)
		}
		for i := range read.Pipeline {
			read.subrequest(x, &read.Pipeline[i])
		}
	}
}
