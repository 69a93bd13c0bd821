// SPDX-License-Identifier: Apache-2.0

package auth_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
)

// pathRoute is a route for one path, or for all below it when it ends with a star.
type pathRoute struct {
	uri       string
	protected bool
}

// plainMatch is the route of a path, found by comparing text: the path itself, then the longest prefix.
func plainMatch(routes []pathRoute, path string) *pathRoute {
	var best *pathRoute
	for i := range routes {
		r := &routes[i]
		if r.uri == path {
			return r
		}
		if prefix, ok := strings.CutSuffix(r.uri, "*"); ok && strings.HasPrefix(path, prefix) {
			if best == nil || len(r.uri) > len(best.uri) {
				best = r
			}
		}
	}
	return best
}

// Segments of which some only differ in how they are written. What is an operator in a pattern with a star, as in APISIX,
// is not among them.
var segments = []string{"a", "b", "A", "admin", "Admin", "a;b", "admin;x=1", "a b", "..a", "a.", "é", "~"}

func randomPath(r *rand.Rand) string {
	p := ""
	for range 1 + r.IntN(3) {
		p += "/" + segments[r.IntN(len(segments))]
	}
	return p
}

func randomRoutes(r *rand.Rand) []pathRoute {
	routes := []pathRoute{{"/*", r.IntN(2) == 0}}
	seen := map[string]bool{"/*": true}
	for range 8 {
		uri := randomPath(r)
		if r.IntN(2) == 0 {
			uri += "/*"
		}
		if !seen[uri] {
			seen[uri] = true
			routes = append(routes, pathRoute{uri, r.IntN(2) == 0})
		}
	}
	return routes
}

// spell writes a path in one of its many ways, or in a way that is nearly one.
func spell(r *rand.Rand, plain string) string {
	var b strings.Builder
	for i := 0; i < len(plain); i++ {
		c := plain[i]
		switch n := r.IntN(24); {
		case c == '/' && n < 9:
			b.WriteString([]string{
				"//", "/./", "/x/../", "/%2e/", "/%2E%2e/", "/../", "%2F", "%2f", "/;/",
			}[n])
		case n < 3 || c <= ' ' || c >= 0x7f:
			fmt.Fprintf(&b, []string{"%%%02x", "%%%02X"}[r.IntN(2)], c)
		case n == 3:
			// Encoded twice, and a mark that some servers take for the end.
			fmt.Fprintf(&b, "%%25%02x", c)
		case n == 4:
			b.WriteString([]string{";", ";a=b", "?", "#", `\`, "%5c", "%00", "%3b", "%3f", "%23", "*", ":"}[r.IntN(12)])
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String() + []string{"", "", "", "/", "/.", "/..", "%2f", "%2F..", ";", "?q=/../", "/%2e%2e"}[r.IntN(11)]
}

// readings are the paths that a node may take what it got for: decoded, and what is left of that when slashes are merged
// and dot segments resolved again.
func readings(t *testing.T, target string) []string {
	t.Helper()
	raw, _, _ := strings.Cut(target, "?")
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		t.Fatalf("the node got %q: %v", target, err)
	}
	cleaned := path.Clean(decoded)
	if strings.HasSuffix(decoded, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return []string{decoded, cleaned}
}

// TestPathAliases: without a key no spelling of a path gets to a node behind key-auth, on any wire.
func TestPathAliases(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RequestURI)
	}))
	defer node.Close()
	rounds, requests := 12, 150
	if testing.Short() {
		rounds = 3
	}
	for _, wire := range gatewaytest.Wires() {
		t.Run(wire.Name, func(t *testing.T) {
			var counts [3]int
			for seed := range uint64(rounds) {
				r := rand.New(rand.NewPCG(seed, 6))
				routes := randomRoutes(r)
				client := &rawClient{t: t, addr: wire.Serve(t, gatewaytest.Open(t, pathObjects(t, node, routes)...))}
				for range requests {
					plain := randomPath(r)
					if r.IntN(3) > 0 {
						plain = strings.TrimSuffix(routes[r.IntN(len(routes))].uri, "/*") + []string{"", "/", "/a", "/admin"}[r.IntN(4)]
					}
					target := spell(r, plain)
					if !strings.HasPrefix(target, "/") {
						continue
					}
					key := ""
					if r.IntN(4) == 0 {
						key = "apikey: k\r\n"
					}
					status, got := client.get(target, key)
					switch status {
					case 200:
					case 400, 401:
						counts[0]++
						continue
					default:
						t.Fatalf("seed %d: %q: status %d", seed, target, status)
					}
					for _, reading := range readings(t, got) {
						match := plainMatch(routes, reading)
						switch {
						case match == nil:
							t.Errorf("seed %d: %q: the node got %q, which no route is for", seed, target, got)
						case match.protected && key == "":
							t.Errorf("seed %d: %q without a key: the node got %q, which %s protects", seed, target, got, match.uri)
						case match.protected:
							counts[1]++
						default:
							counts[2]++
						}
					}
				}
				client.close()
			}
			for i, what := range []string{"refused", "let in with a key", "open"} {
				if counts[i] < rounds {
					t.Errorf("only %d requests were %s", counts[i], what)
				}
			}
		})
	}
}

func pathObjects(t *testing.T, node *httptest.Server, routes []pathRoute) []gateway.Object {
	t.Helper()
	object := func(kind gateway.Kind, id string, value map[string]any) gateway.Object {
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return gateway.Object{Kind: kind, ID: id, Value: raw}
	}
	objects := []gateway.Object{object(gateway.Consumers, "jack", map[string]any{
		"username": "jack", "plugins": map[string]any{"key-auth": map[string]any{"key": "k"}},
	})}
	for i, route := range routes {
		id := fmt.Sprint(i)
		value := map[string]any{
			"id": id, "uri": route.uri,
			"upstream": map[string]any{"nodes": map[string]any{node.Listener.Addr().String(): 1}},
		}
		if route.protected {
			value["plugins"] = map[string]any{"key-auth": map[string]any{}}
		}
		objects = append(objects, object(gateway.Routes, id, value))
	}
	return objects
}

// rawClient sends targets as they are, on one connection as long as it stays open.
type rawClient struct {
	t    *testing.T
	addr string
	conn net.Conn
	in   *bufio.Reader
}

func (c *rawClient) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// get returns the status and the body.
func (c *rawClient) get(target, fields string) (int, string) {
	c.t.Helper()
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			c.t.Fatal(err)
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	_ = c.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n", target, fields); err != nil {
		c.t.Fatal(err)
	}
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatalf("%q: %v", target, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatalf("%q: %v", target, err)
	}
	if response.Close {
		c.close()
	}
	return response.StatusCode, string(body)
}
