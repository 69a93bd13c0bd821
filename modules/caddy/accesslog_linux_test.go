// SPDX-License-Identifier: Apache-2.0

package andocaddy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	andocaddy "github.com/andogate/ando/modules/caddy"
)

// logged are requests, one after the other on one connection, with most of what a log line or a metric can tell apart.
var logged = []string{
	"GET /a?x=1&y=%20 HTTP/1.1\r\nHost: a.test\r\nuser-agent: test\r\nACCEPT: a\r\nAccept: b\r\nCookie: secret\r\n\r\n",
	"GET /a HTTP/1.1\r\nHost: A.Test:80\r\nAuthorization: Basic c2VjcmV0\r\nProxy-Authorization: x\r\nX_Alias: 1\r\nPragma: no-cache\r\n\r\n",
	"POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nX-Quote: \"\\\xff\r\n\r\nhello",
	"PUT /echo HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
	"HEAD /a HTTP/1.1\r\nHost: b.test\r\n\r\n",
	"GET /none HTTP/1.1\r\nHost: b.test\r\n\r\n",
	"HEAD /none HTTP/1.1\r\nHost: b.test\r\n\r\n",
	"GET /guarded HTTP/1.1\r\nHost: x.wild.test\r\n\r\n",
	"GET /guarded HTTP/1.1\r\nHost: x.wild.test\r\napikey: jacks-key\r\n\r\n",
	"POST /guarded HTTP/1.1\r\nHost: x.wild.test\r\nContent-Length: 5\r\n\r\nhello",
	"GET /dead HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"GET /again HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"GET /status/503 HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"GET /status/204 HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"GET /status/304 HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"GET /typeless HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"GET /trailers HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\n\r\n",
	"GET /a HTTP/1.1\r\nHost: skipped.test\r\n\r\n",
	"GET /a HTTP/1.1\r\nHost: twice.test\r\n\r\n",
	"GET /a HTTP/1.1\r\nHost: nowhere.test\r\n\r\n",
	"get /a HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"BREW /a HTTP/1.1\r\nHost: a.test\r\n\r\n",
	"GET /a HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n",
	"GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
}

func answering(w http.ResponseWriter, r *http.Request) {
	// The only thing in a response that is not the same every time.
	w.Header()["Date"] = nil
	w.Header().Add("Set-Cookie", "a=1")
	w.Header().Add("Set-Cookie", "b=2")
	var status int
	switch path := r.URL.Path; {
	case path == "/echo":
		io.Copy(w, r.Body)
	case path == "/typeless":
		w.Header()["Content-Type"] = nil
		io.WriteString(w, "x")
	case path == "/trailers":
		w.Header().Set("Trailer", "X-Announced")
		io.WriteString(w, "x")
		w.Header().Set("X-Announced", "1")
		w.Header().Set(http.TrailerPrefix+"X-Surprise", "2")
	case strings.HasPrefix(path, "/status/"):
		fmt.Sscanf(path, "/status/%d", &status)
		w.WriteHeader(status)
	default:
		io.WriteString(w, "hello")
	}
}

// TestAccessLogAndMetrics: whoever serves a request, its log line and what it adds to the metrics are the same.
func TestAccessLogAndMetrics(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	node := httptest.NewServer(http.HandlerFunc(answering))
	defer node.Close()
	nodeAddr := strings.TrimPrefix(node.URL, "http://")
	dead := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	const names = `"default_logger_name": "rest", "logger_names": {
		"a.test": "a", "*.wild.test": ["wild"], "twice.test": ["one", "", "two"], "nowhere.test": []}, "skip_hosts": ["skipped.test"]`
	hosts := `"match": [{"host": ["a.test", "b.test", "*.wild.test", "skipped.test", "twice.test", "nowhere.test"]}],`
	for _, c := range []struct {
		name, logs, metrics, match string
		secure                     bool
	}{
		{"one log", `{}`, `{}`, "", false},
		{"tls", `{}`, `{}`, "", true},
		{"names", `{` + names + `}`, `{"per_host": true}`, "", false},
		{"mapped hosts only", `{` + names + `, "skip_unmapped_hosts": true}`, `{"per_host": true}`, hosts, true},
		{"credentials", `{"should_log_credentials": true}`, `{"per_host": true, "observe_catchall_hosts": true}`, "", false},
		{"no log", `null`, `{}`, "", false},
		{"no metrics", `{}`, `null`, hosts, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var lines, series []string
			for _, lane := range []string{"off", "ring", "poll"} {
				file, port := filepath.Join(t.TempDir(), "access.log"), freePort(t)
				tlsFields := ""
				if c.secure {
					tlsFields = `"tls_connection_policies": [{}],`
				}
				err := caddy.Load(fmt.Appendf(nil, `{
					"admin": {"disabled": true, "config": {"persist": false}},
					"logging": {"logs": {"default": {"level": "PANIC"}, "file": {"include": ["http.log.access"],
						"writer": {"output": "file", "filename": %q}, "encoder": {"format": "json"}}}},
					"apps": {
						"tls": {"automation": {"policies": [{"issuers": [{"module": "internal"}]}]}, "certificates": {"automate": ["localhost"]}},
						"pki": {"certificate_authorities": {"local": {"install_trust": false}}},
						"ando": {"lane": %q, "store": {"module": "memory"}, "admin": {"disabled": true}, "objects": [
							{"kind": "consumers", "id": "jack", "value": {"plugins": {"key-auth": {"key": "jacks-key"}}}},
							{"kind": "routes", "id": "guarded", "value": {"uri": "/guarded", "plugins": {"key-auth": {}}, "upstream": {"nodes": {%[3]q: 1}}}},
							{"kind": "routes", "id": "dead", "value": {"uri": "/dead", "upstream": {"nodes": {%[4]q: 1}}}},
							{"kind": "routes", "id": "again", "value": {"uri": "/again", "upstream": {"nodes": [
								{"host": "127.0.0.1", "port": %[5]s, "weight": 1, "priority": 1}, {"host": "127.0.0.1", "port": %[6]s, "weight": 1}]}}},
							{"kind": "routes", "id": "r", "value": {"uris": ["/a", "/echo", "/status/*", "/trailers", "/typeless"], "upstream": {"nodes": {%[3]q: 1}}}}]},
						"http": {"http_port": 1, "metrics": %[7]s, "servers": {"gateway": {"listen": ["ando/127.0.0.1:%[8]d"], "protocols": ["h1"],
							"listener_wrappers": [{"wrapper": "ando"}], "automatic_https": {"disable": true}, %[9]s "logs": %[10]s,
							"routes": [{%[11]s "handle": [{"handler": "subroute", "routes": [{"handle": [{"handler": "ando"}]}]}]}]}}}}}`,
					file, lane, nodeAddr, dead, dead[len("127.0.0.1:"):], nodeAddr[len("127.0.0.1:"):],
					c.metrics, port, tlsFields, c.logs, c.match), true)
				if lane == "ring" && err != nil && strings.Contains(err.Error(), "lane ring: ") {
					t.Logf("without ring: %v", err)
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if c.secure {
					waitForCertificate(t, port)
				}
				onLane := askAll(t, lane, port, c.secure)
				if onLane != (lane != "off") {
					t.Errorf("%s: connection on a lane: %v", lane, onLane)
				}
				gotSeries := httpSeries(t)
				if err := caddy.Stop(); err != nil {
					t.Fatal(err)
				}
				got := logLines(t, file)
				if lane == "off" {
					lines, series = got, gotSeries
					if len(lines) == 0 && c.logs != "null" || len(series) == 0 && c.metrics != "null" {
						t.Fatalf("Caddy itself has %d lines and %d series", len(lines), len(series))
					}
					continue
				}
				differ(t, lane+": lines", got, lines)
				differ(t, lane+": series", gotSeries, series)
			}
		})
	}
}

// askAll sends the requests and reports whether a lane had the connection.
func askAll(t *testing.T, lane string, port int, secure bool) (onLane bool) {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	open := 0
	for i, request := range logged {
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		method, _, _ := strings.Cut(request, " ")
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%q: %v", request, err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatalf("%q: %v", request, err)
		}
		if i == 0 {
			open = andocaddy.LaneConns(lane)
		}
	}
	// When it is closed the lane that had it has one less. Others may be closing too, so that nothing is said of how many.
	conn.Close()
	for deadline := time.Now().Add(20 * time.Second); open > 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if andocaddy.LaneConns(lane) < open {
			return true
		}
	}
	return false
}

// logLines returns the lines of a log, in a form that can be compared: without times and ports, and in the order of the
// names of their fields.
func logLines(t *testing.T, file string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for text := range bytes.Lines(text) {
		var line map[string]any
		if err := json.Unmarshal(text, &line); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for name, object := range map[string]any{"ts": line, "duration": line, "remote_port": line["request"], "upstream_time": line["ando"]} {
			fields, _ := object.(map[string]any)
			switch value := fields[name].(type) {
			case nil:
			case float64:
				if value <= 0 {
					t.Errorf("%s: %s is %v", text, name, value)
				}
				fields[name] = "some time"
			case []any:
				fields[name] = len(value)
			default:
				delete(fields, name)
			}
		}
		sorted, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(sorted))
	}
	return lines
}

// httpSeries returns what Caddy's metrics of HTTP have counted; of times only how many.
func httpSeries(t *testing.T) (series []string) {
	t.Helper()
	ctx := caddy.ActiveContext()
	families, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "caddy_http_") {
			continue
		}
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			value := metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			if h := metric.GetHistogram(); h != nil {
				value = float64(h.GetSampleCount())
				if strings.HasSuffix(family.GetName(), "_bytes") {
					labels["sum"] = fmt.Sprint(h.GetSampleSum())
				}
			}
			var text []string
			for _, name := range slices.Sorted(maps.Keys(labels)) {
				text = append(text, name+"="+labels[name])
			}
			series = append(series, fmt.Sprint(family.GetName(), text, value))
		}
	}
	slices.Sort(series)
	return series
}

// differ fails the test with what is in one list alone.
func differ(t *testing.T, what string, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		a, b := "", ""
		if i < len(got) {
			a = got[i]
		}
		if i < len(want) {
			b = want[i]
		}
		if a != b {
			t.Errorf("%s: got\n\t%s\nwant\n\t%s", what, a, b)
		}
	}
}
