// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andogate/ando/modules/lane"
)

// complainer returns what a test of a case fails with. net/http is known to fall short in some cases, each for a reason,
// and then it is the opposite that fails: with surely, a case that is listed and not needed any more.
func complainer(t *testing.T, driver, id string, surely bool) func(format string, args ...any) {
	reason := shortcomings(t)[id]
	if !strings.HasPrefix(driver, netHTTP) || reason == "" {
		return t.Errorf
	}
	falls := false
	t.Cleanup(func() {
		if !falls && surely {
			t.Errorf("testdata/net_http.json lists it, because %s; but nothing is wrong", reason)
		}
	})
	return func(format string, args ...any) {
		falls = true
		t.Logf("known, because "+reason+": "+format, args...)
	}
}

func shortcomings(t *testing.T) (reasons map[string]string) {
	t.Helper()
	text, err := os.ReadFile("testdata/net_http.json")
	if err == nil {
		err = json.Unmarshal(text, &reasons)
	}
	if err != nil {
		t.Fatal(err)
	}
	return reasons
}

// TestHostileRequests sends each case to a loop over a real socket and looks at both sides.
func TestHostileRequests(t *testing.T) { onEveryWire(t, testHostileRequests) }

func testHostileRequests(t *testing.T, driver string) {
	for _, c := range lane.Cases(t, "requests.jsonl") {
		for _, piece := range []int{len(c.Raw) + 1, 1} {
			if piece == 1 && len(c.Raw) > 2000 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", c.ID, min(piece, 2)), func(t *testing.T) {
				complain := complainer(t, driver, c.ID, piece > 1)
				var mu sync.Mutex
				var saw []string
				node := httpNode(t, func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					saw = append(saw, r.RequestURI)
					mu.Unlock()
					if len(r.TransferEncoding) > 0 && r.ContentLength >= 0 {
						t.Errorf("node saw two framings")
					}
					echo(w, r)
				})
				addr := start(t, driver, nil, 5*time.Second, node)
				raw := c.Raw
				if strings.HasSuffix(driver, " tls") && strings.HasPrefix(c.ID, "ho-absolute") {
					raw = strings.NewReplacer("http://", "https://", "https://", "http://").Replace(raw)
				}
				conn := dial(t, driver, addr)
				defer conn.Close()
				// net/http takes the end of what a client sends for its departure, so there only one does it whose request lacks
				// something.
				halfCloses := !strings.HasPrefix(driver, netHTTP) || lane.Verdict([]byte(raw)) == 0
				go func() {
					for rest := raw; rest != ""; {
						n := min(piece, len(rest))
						if _, err := io.WriteString(conn, rest[:n]); err != nil {
							return
						}
						rest = rest[n:]
					}
					if halfCloses {
						conn.(interface{ CloseWrite() error }).CloseWrite()
					}
				}()
				conn.SetReadDeadline(time.Now().Add(5 * time.Second))
				r := bufio.NewReader(conn)
				status := 0
				res, err := http.ReadResponse(r, nil)
				for err == nil && res.StatusCode == 100 {
					res, err = http.ReadResponse(r, nil)
				}
				var timeout net.Error
				if errors.As(err, &timeout) && timeout.Timeout() {
					t.Fatalf("no answer and no end (%s)", c.Why)
				}
				if err == nil {
					status = res.StatusCode
					if _, err := io.ReadAll(res.Body); err != nil {
						t.Fatalf("body: %v", err)
					}
				}
				conn.(interface{ CloseWrite() error }).CloseWrite()
				io.Copy(io.Discard, r)
				allowed := c.AllowedStatus
				if c.Ando == "reject-401" {
					allowed = append(allowed, 200)
				}
				if !slices.Contains(allowed, status) && !(status == 0 && c.ConnectionAfter == "close") {
					complain("status %d, allowed %v (%s)", status, c.AllowedStatus, c.Why)
				}
				// The preface of HTTP/2 is net/http's to judge.
				if c.ID != "rl-h2-preface" && strings.HasPrefix(c.Ando, "reject-4") && c.Ando != "reject-401" && c.Ando != "reject-413" && status == 200 {
					complain("accepted, want %s (%s)", c.Ando, c.Why)
				}
				mu.Lock()
				defer mu.Unlock()
				if c.MaxUpstreamRequests != nil && len(saw) > *c.MaxUpstreamRequests {
					complain("node saw %d requests %q, want at most %d (%s)", len(saw), saw, *c.MaxUpstreamRequests, c.Why)
				}
				if slices.Contains(saw, "/smuggled") && !c.SmuggledMayReach {
					complain("a smuggled request reached the node (%s)", c.Why)
				}
			})
		}
	}
}

// TestHostileResponses has a node answer with each case.
func TestHostileResponses(t *testing.T) { onEveryWire(t, testHostileResponses) }

func testHostileResponses(t *testing.T, driver string) {
	for _, c := range lane.Cases(t, "responses.jsonl") {
		t.Run(c.ID, func(t *testing.T) {
			t.Parallel()
			var requests sync.Map
			node := rawNode(t, func(conn net.Conn, r *bufio.Reader) {
				for n := 1; ; n++ {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					if c.ID != "uix-early-200-keepalive" {
						io.Copy(io.Discard, req.Body)
					}
					requests.Store(n, true)
					io.WriteString(conn, c.Raw)
					if c.ClosesAfter || !c.Reusable && c.Delivery != "stall" && !strings.Contains(c.Raw, "Content-Length: 5\r\n") {
						return
					}
				}
			})
			complain := complainer(t, driver, c.ID, true)
			addr := start(t, driver, nil, time.Second, node)
			conn := dial(t, driver, addr)
			defer conn.Close()
			if c.RequestMethod == "" {
				c.RequestMethod = "GET"
			}
			head := c.RequestMethod + " / HTTP/1.1\r\nHost: h\r\n"
			if c.RequestMethod == "POST" {
				head += "Content-Length: 100000\r\n"
			}
			io.WriteString(conn, head+"\r\n")
			conn.SetReadDeadline(time.Now().Add(8 * time.Second))
			req := &http.Request{Method: c.RequestMethod}
			r := bufio.NewReader(conn)
			res, err := http.ReadResponse(r, req)
			for err == nil && res.StatusCode < 200 {
				res, err = http.ReadResponse(r, req)
			}
			status := 0
			whole := false
			var body []byte
			if err == nil {
				status = res.StatusCode
				body, err = io.ReadAll(res.Body)
				whole = err == nil
				for name := range res.Header {
					if strings.ContainsAny(name, "\r\n\x00") || name == "Set-Cookie" && strings.HasPrefix(c.ID, "uhd-") && c.ID != "uhd-hop" {
						complain("header %q got through", name)
					}
				}
			}
			if !slices.Contains(c.AllowedClientStatus, status) {
				complain("status %d (%v), allowed %v (%s)", status, err, c.AllowedClientStatus, c.Why)
			}
			switch {
			case strings.HasPrefix(c.Ando, "reject-") && status == 200:
				complain("passed on, want %s (%s)", c.Ando, c.Why)
			case strings.HasPrefix(c.Ando, "abort") && status == 200 && whole:
				complain("ended cleanly with %q, want an abort (%s)", body, c.Why)
			case strings.HasPrefix(c.Ando, "accept") && status/100 != 2:
				if c.ID != "ucl-list-same" && c.ID != "uun-slow-drip" {
					complain("status %d, want it passed on (%s)", status, c.Why)
				}
			}
		})
	}
}
