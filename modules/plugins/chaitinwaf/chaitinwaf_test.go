// SPDX-License-Identifier: Apache-2.0

package chaitinwaf

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/plugintest"
	_ "github.com/andogate/ando/modules/plugins/realip"
)

// fake is a detector: it reads requests as the protocol has them, and answers as it is told.
type fake struct {
	net.Listener
	host        string
	port        int
	connections atomic.Int32
	// answer gets the head of a request and returns the bytes of an answer; none closes the connection.
	answer func(head string) string

	mu         sync.Mutex
	head, body string
	extra      map[string]string
	order      []byte
}

func newFake(t *testing.T, network, address string, answer func(head string) string) *fake {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{Listener: l, answer: answer, host: "unix:" + address, port: 80}
	if tcp, ok := l.Addr().(*net.TCPAddr); ok {
		f.host, f.port = tcp.IP.String(), tcp.Port
	}
	var open sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			f.connections.Add(1)
			open.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		open.Wait()
	})
	return f
}

func (f *fake) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		parts := map[byte]string{}
		var order []byte
		for last := false; !last; {
			var head [5]byte
			if _, err := io.ReadFull(r, head[:]); err != nil {
				return
			}
			content := make([]byte, int(head[1])|int(head[2])<<8|int(head[3])<<16|int(head[4])<<24)
			if _, err := io.ReadFull(r, content); err != nil {
				return
			}
			order = append(order, head[0])
			parts[head[0]&0x3f] = string(content)
			last = head[0]&0x80 != 0
		}
		f.mu.Lock()
		f.head, f.body, f.order, f.extra = parts[1], parts[2], order, map[string]string{}
		for line := range strings.Lines(parts[3]) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
			f.extra[name] = value
		}
		f.mu.Unlock()
		text := f.answer(parts[1])
		if _, err := io.WriteString(c, text); err != nil || text == "" {
			return
		}
	}
}

func (f *fake) saw() (head, body string, extra map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head, f.body, f.extra
}

// The answers of a detector, byte for byte.
const (
	passing  = "\xc1\x01\x00\x00\x00."
	blocking = "\x41\x01\x00\x00\x00?" + "\x02\x03\x00\x00\x00405" + "\x23\x20\x00\x00\x00k1:v1\nk2: v2\nContent-Length:1\n:\n" +
		"\xa4\x33\x00\x00\x00<!-- event_id: c0c039a7c348486eaffd9e2f9846b66b -->"
	tagged = "\x41\x01\x00\x00\x00." + "\xa3\x06\x00\x00\x00k1:v1\n"
)

// decides refuses whatever speaks of an attack.
func decides(head string) string {
	switch {
	case strings.Contains(head, "attack"):
		return blocking
	case strings.Contains(head, "tagged"):
		return tagged
	}
	return passing
}

// meta is metadata with further members; options are the members of its config. Nothing runs out of time on a slow machine.
func meta(rest, options string, fakes ...*fake) gateway.Object {
	rest += `,"config":{"connect_timeout":60000,"send_timeout":60000,"read_timeout":60000` + options + `}`
	var nodes []string
	for _, f := range fakes {
		nodes = append(nodes, fmt.Sprintf(`{"host":%q,"port":%d}`, f.host, f.port))
	}
	return gateway.Object{Kind: gateway.PluginMetadata, ID: name, Value: fmt.Appendf(nil, `{"id":%q,"nodes":[%s]%s}`, name, strings.Join(nodes, ","), rest)}
}

const rejected = `{"code": 405, "success":false, "message": "blocked by Chaitin SafeLine Web Application Firewall", "event_id": "c0c039a7c348486eaffd9e2f9846b66b"}` + "\n"

// said holds an answer to what the plugin's fields say: its outcome, status and action, empty for none.
func said(s *plugintest.Site, got plugintest.Answer, outcome, status, action string) {
	s.Helper()
	h := got.Header
	if h.Get(headerWAF) != outcome || h.Get(headerStatus) != status || h.Get(headerAction) != action {
		s.Errorf("got %q %q %q, want %q %q %q", h.Get(headerWAF), h.Get(headerStatus), h.Get(headerAction), outcome, status, action)
	}
	_, err := strconv.Atoi(h.Get(headerTime))
	asked := outcome == "yes" || outcome == "waf-err" || outcome == "timeout"
	if asked != (err == nil) {
		s.Errorf("the time is %q", h.Get(headerTime))
	}
}

func TestModes(t *testing.T) {
	f := newFake(t, "tcp", "127.0.0.1:0", decides)
	for _, c := range []struct{ config, meta, mode string }{
		{`{}`, ``, monitor},
		{`{}`, `,"mode":"block"`, block},
		{`{"mode":"block"}`, `,"mode":"off"`, block},
		{`{"mode":"monitor"}`, `,"mode":"block"`, monitor},
		{`{"mode":"off"}`, `,"mode":"block"`, off},
		{`{}`, `,"mode":"off"`, off},
	} {
		plugintest.OnEach(t, `{"chaitin-waf":`+c.config+`}`, func(s *plugintest.Site) {
			harmless := s.Do("GET", "/a", "")
			s.Want(harmless, 200, "node", true)
			attack := s.Do("POST", "/attack", "x=1")
			marked := s.Do("GET", "/tagged", "")
			s.Want(marked, 200, "node", true)
			switch c.mode {
			case off:
				said(s, harmless, "off", "", "")
				said(s, attack, "off", "", "")
				if attack.Status != 200 || attack.Body != "node" {
					s.Errorf("got %d %s", attack.Status, attack.Body)
				}
			case monitor:
				said(s, harmless, "yes", "200", "pass")
				said(s, attack, "yes", "405", "reject")
				if attack.Status != 200 || attack.Header.Get("k1") != "" || marked.Header.Get("k1") != "" {
					s.Errorf("got %d %v, %v", attack.Status, attack.Header, marked.Header)
				}
			case block:
				said(s, harmless, "yes", "200", "pass")
				said(s, attack, "yes", "405", "reject")
				if attack.Status != 405 || attack.Body != rejected || attack.Header.Get("k1") != "v1" || attack.Header.Get("k2") != "v2" {
					s.Errorf("got %d %s %v", attack.Status, attack.Body, attack.Header)
				}
				if marked.Header.Get("k1") != "v1" {
					s.Errorf("got %v", marked.Header)
				}
			}
			for _, a := range []plugintest.Answer{harmless, attack} {
				if a.Header.Get(headerServer) != "" || a.Header.Get(headerError) != "" {
					s.Errorf("debugging: %v", a.Header)
				}
			}
		}, meta(c.meta, "", f))
	}
}

// TestQuestion: what the detector is sent, in the order of the protocol.
func TestQuestion(t *testing.T) {
	f := newFake(t, "tcp", "127.0.0.1:0", decides)
	plugintest.OnEach(t, `{"real-ip":{"source":"http_xff"},"chaitin-waf":{"config":{"req_body_size":1}}}`, func(s *plugintest.Site) {
		s.Want(s.Do("PUT", "/a/%2e./b?c=%27", strings.Repeat("x", 1500), "Host", "shop.test:81", "X-A", "1", "X-A", "2", "xff", "192.0.2.7"), 200, "node", true)
		if len(s.SawBody) != 1500 {
			s.Errorf("the node was sent %d bytes", len(s.SawBody))
		}
		head, body, extra := f.saw()
		if !strings.HasPrefix(head, "PUT /a/%2e./b?c=%27 HTTP/1.1\r\nHost: shop.test:81\r\n") || !strings.HasSuffix(head, "\r\n\r\n") ||
			strings.Count(head, "\r\nX-A: ") != 2 {
			s.Errorf("head: %q", head)
		}
		if body != strings.Repeat("x", 1024) {
			s.Errorf("the detector was sent %d bytes of the body", len(body))
		}
		if order := fmt.Sprintf("%x", f.order); order != "410220"+"83" {
			s.Errorf("sections %s", order)
		}
		began, err := strconv.ParseInt(extra["ReqBeginTime"], 10, 64)
		if err != nil || time.Since(time.UnixMicro(began)) > time.Hour {
			s.Errorf("ReqBeginTime is %q", extra["ReqBeginTime"])
		}
		port, err := strconv.Atoi(extra["RemotePort"])
		if len(extra["UUID"]) != 36 || extra["RemoteAddr"] != "192.0.2.7" || err != nil || port == 0 || extra["LocalAddr"] != "127.0.0.1" ||
			!strings.HasSuffix(s.URL, ":"+extra["LocalPort"]) || extra["Scheme"] != "http" || extra["ServerName"] != "shop.test" ||
			extra["ProxyName"] == "" || extra["HasRspIfOK"] != "n" || extra["HasRspIfBlock"] != "n" {
			s.Errorf("extra: %v", extra)
		}
	}, meta("", "", f))
	// The client's address is that of its connection when the config, or else the metadata, says so.
	for config, want := range map[string]string{
		`{}`: "127.0.0.1", `{"config":{"real_client_ip":true}}`: "192.0.2.7", `{"config":{"read_timeout":2000}}`: "127.0.0.1",
	} {
		plugintest.OnEach(t, `{"real-ip":{"source":"http_xff"},"chaitin-waf":`+config+`}`, func(s *plugintest.Site) {
			s.Want(s.Do("GET", "/", "", "xff", "192.0.2.7"), 200, "node", true)
			if _, body, extra := f.saw(); extra["RemoteAddr"] != want || body != "" {
				s.Errorf("%s: got %q, want %q", config, extra["RemoteAddr"], want)
			}
		}, meta("", `,"real_client_ip":false`, f))
	}
}

func TestMatch(t *testing.T) {
	f := newFake(t, "tcp", "127.0.0.1:0", decides)
	config := `{"chaitin-waf":{"mode":"block","match":[{"vars":[["http_waf","==","true"]]},{"vars":[["post_arg_a","==","1"]]}]}}`
	plugintest.OnEach(t, config, func(s *plugintest.Site) {
		got := s.Do("GET", "/attack", "")
		s.Want(got, 200, "node", true)
		said(s, got, "no", "", "")
		said(s, s.Do("GET", "/attack", "", "waf", "true"), "yes", "405", "reject")
		form := []string{"Content-Type", "application/x-www-form-urlencoded"}
		said(s, s.Do("POST", "/attack", "a=1", form...), "yes", "405", "reject")
		said(s, s.Do("POST", "/attack", "a=2", form...), "no", "", "")
	}, meta("", "", f))
	plugintest.OnEach(t, `{"chaitin-waf":{"mode":"block","match":[]}}`, func(s *plugintest.Site) {
		said(s, s.Do("GET", "/attack", ""), "yes", "405", "reject")
	}, meta("", "", f))
}

// TestFailures: a detector that cannot be understood does not let anything pass, unless one only watches.
func TestFailures(t *testing.T) {
	for _, c := range []struct{ answer, outcome, problem string }{
		{"", "waf-err", "the connection was closed"},
		{"\x81\x01\x00\x00\x00.", "waf-err", "first packet is not MASK_FIRST"},
		{"\xc1\x01\x00\x00\x00~", "waf-err", `unknown action "~"`},
		{"\xc2\x01\x00\x00\x00.", "waf-err", `unknown action ""`},
		{"\xc1\xff\xff\xff\x7f.", "waf-err", "the answer is too long"},
		{strings.Repeat("\x41\x00\x00\x00\x00", 100), "waf-err", "the answer has too many packets"},
		{passing + passing, "waf-err", "sends more than its answer"},
		{"\xc1\x02\x00\x00\x00.", "timeout", "timeout"},
	} {
		f := newFake(t, "tcp", "127.0.0.1:0", func(string) string { return c.answer })
		// It is the same detector, as long as somebody has it.
		d := detectorFor(f.host, "tcp", f.Addr().String())
		for _, mode := range []string{monitor, block} {
			options := ""
			if c.outcome == "timeout" {
				options = `"read_timeout":100`
			}
			plugintest.OnEach(t, `{"chaitin-waf":{"mode":"`+mode+`","append_waf_debug_header":true,"config":{`+options+`}}}`, func(s *plugintest.Site) {
				got := s.Do("GET", "/", "")
				d.breaker.report(true, time.Now())
				if mode == monitor {
					s.Want(got, 200, "node", true)
				} else {
					s.Want(got, 500, plugintest.AnyBody, false)
				}
				outcome := got.Header.Get(headerWAF)
				if outcome != c.outcome || !strings.Contains(got.Header.Get(headerError), c.problem) || got.Header.Get(headerServer) != f.host {
					s.Errorf("%q: got %v", c.answer, got.Header)
				}
			}, meta("", "", f))
		}
	}
}

func TestNoMetadata(t *testing.T) {
	plugintest.OnEach(t, `{"chaitin-waf":{"append_waf_debug_header":true}}`, func(s *plugintest.Site) {
		got := s.Do("GET", "/", "")
		s.Want(got, 500, plugintest.AnyBody, false)
		if got.Header.Get(headerWAF) != "err" || got.Header.Get(headerError) != "missing metadata" {
			s.Errorf("got %v", got.Header)
		}
	})
}

// TestSilent: without append_waf_resp_header clients are told nothing.
func TestSilent(t *testing.T) {
	f := newFake(t, "unix", filepath.Join(t.TempDir(), "s"), decides)
	plugintest.OnEach(t, `{"chaitin-waf":{"mode":"block","append_waf_resp_header":false,"append_waf_debug_header":true}}`, func(s *plugintest.Site) {
		for _, path := range []string{"/", "/attack"} {
			got := s.Do("GET", path, "")
			for field := range got.Header {
				if strings.HasPrefix(strings.ToUpper(field), headerWAF) {
					s.Errorf("%s: %s", path, field)
				}
			}
		}
	}, meta("", "", f))
}

// TestBreaker: a detector that does not answer is left out; when none is left nobody waits for one.
func TestBreaker(t *testing.T) {
	gone := newFake(t, "tcp", "127.0.0.1:0", decides)
	_ = gone.Close()
	works := newFake(t, "tcp", "127.0.0.1:0", decides)
	lost := detectorFor(gone.host, "tcp", gone.Addr().String())
	plugintest.OnEach(t, `{"chaitin-waf":{"mode":"block","append_waf_debug_header":true}}`, func(s *plugintest.Site) {
		lost.breaker.report(true, time.Now())
		outcomes := map[string]int{}
		for range 24 {
			outcomes[s.Do("GET", "/", "").Header.Get(headerWAF)]++
		}
		// On a slow machine some few find out whether it works again. Without a breaker there were 12.
		if failed := outcomes["waf-err"]; failed < maxFailures || failed > 2*maxFailures || outcomes["yes"] != 24-failed {
			s.Errorf("got %v", outcomes)
		}
	}, meta("", "", gone, works))
	plugintest.OnEach(t, `{"chaitin-waf":{"mode":"block","append_waf_debug_header":true}}`, func(s *plugintest.Site) {
		for range maxFailures {
			lost.breaker.report(false, time.Now())
		}
		got := s.Do("GET", "/", "")
		s.Want(got, 500, plugintest.AnyBody, false)
		if got.Header.Get(headerWAF) != "unhealthy" || got.Header.Get(headerError) != "no healthy nodes" || got.Header.Get(headerServer) != "" {
			s.Errorf("got %v", got.Header)
		}
	}, meta("", "", gone))
}

func TestBreakerTimes(t *testing.T) {
	var b breaker
	now := time.Unix(1000, 0)
	for i := range maxFailures {
		if !b.allows(now) {
			t.Errorf("out after %d failures", i)
		}
		b.report(false, now)
	}
	if b.allows(now.Add(pause - 1)) {
		t.Error("it is asked too early")
	}
	// One finds out whether it works, and the others wait.
	if !b.allows(now.Add(pause)) || b.allows(now.Add(pause)) {
		t.Error("not exactly one finds out")
	}
	b.report(false, now.Add(pause))
	if b.allows(now.Add(pause + 1)) {
		t.Error("it is asked although it failed")
	}
	b.report(true, now.Add(2*pause))
	for range 2 {
		if !b.allows(now.Add(2 * pause)) {
			t.Error("it works and is not asked")
		}
	}
}

// TestConnections: they are used again, and one that the detector has closed meanwhile does no harm.
func TestConnections(t *testing.T) {
	f := newFake(t, "tcp", "127.0.0.1:0", decides)
	d := detectorFor(f.host, "tcp", f.Addr().String())
	ask := func(o options) {
		t.Helper()
		if _, err := d.ask(t.Context(), o.over(defaults), appendSection(appendSection(nil, tagHead|maskFirst, nil), tagExtra|maskLast, nil)); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		ask(options{Connect: 60_000, Send: 60_000, Read: 60_000})
	}
	if n := f.connections.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	// What is idle is closed under the pool's hands.
	d.pool.mu.Lock()
	for _, c := range d.pool.idle {
		_ = c.Close()
	}
	d.pool.mu.Unlock()
	ask(options{Connect: 60_000, Send: 60_000, Read: 60_000})
	if n := f.connections.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	d.pool.mu.Lock()
	d.pool.idle[0].until = time.Now()
	d.pool.mu.Unlock()
	ask(options{Connect: 60_000, Send: 60_000, Read: 60_000})
	if n := f.connections.Load(); n != 3 {
		t.Errorf("%d connections, want 3: the idle one was too old", n)
	}
	// No more are kept than is said.
	p := &pool{}
	for range 3 {
		one, other := net.Pipe()
		t.Cleanup(func() { _ = other.Close() })
		p.put(&conn{Conn: one}, 2, time.Minute)
	}
	if len(p.idle) != 2 {
		t.Errorf("%d are kept, want 2", len(p.idle))
	}
	p.close()
	if p.take(time.Now()) != nil {
		t.Error("a closed pool has connections")
	}
}

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{}`, ""},
		{`{"mode":"block","match":[{"vars":[]},{}]}`, ""},
		{`{"mode":"on"}`, `property "mode" validation failed: matches none of the enum values`},
		{`{"match":[{"vars":[["a","is","b"]]}]}`, "failed to validate the 'vars' expression: invalid operator 'is'"},
		{`{"config":{"read_timeout":"1s"}}`, `property "config" validation failed: property "read_timeout" validation failed: wrong type`},
	})
	for config, want := range map[string]string{
		`{"nodes":[{"host":"[::1]","port":8000},{"host":"waf.test","port":80},{"host":"unix:/run/waf.sock","port":80}]}`: "",
		`{"nodes":[{"host":"a","port":65536}]}`: `property "nodes" validation failed: there is no port 65536`,
	} {
		m, err := compileMetadata(gateway.Env{}, []byte(config))
		if got := fmt.Sprint(err); got != want && (err != nil || want != "") {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
		if err == nil && m.(*metadata).detectors[0].address != "[::1]:8000" {
			t.Errorf("got %v", m.(*metadata).detectors[0])
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, answer := range []string{passing, blocking, tagged} {
		f.Add([]byte(answer))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := readAnswer(bufio.NewReader(strings.NewReader(string(raw))))
		if err == nil && a.rejects && (a.status == 200 || a.status < 200 || a.status > 999) {
			t.Errorf("%q: a refusal with status %d", raw, a.status)
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	x := &gateway.Exchange{Start: time.Now()}
	x.Request.Method, x.Request.Target, x.Request.RawHost, x.Request.Host = "GET", "/a?b=c", "h", "h"
	x.Request.Header.Add("User-Agent", "bench")
	b.ReportAllocs()
	for b.Loop() {
		message(x, nil, defaults)
	}
}
