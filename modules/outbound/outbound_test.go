// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func client(t *testing.T, options Options) *http.Client {
	t.Helper()
	c, err := Client(options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEqualOptionsShareConnections(t *testing.T) {
	var mu sync.Mutex
	peers := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		peers[r.RemoteAddr] = true
	}))
	defer server.Close()
	for _, c := range []struct {
		options Options
		want    int
	}{
		{Options{KeepAlivePool: 7}, 1},
		{Options{KeepAlivePool: 7, Timeout: time.Minute}, 1},
		{Options{KeepAlivePool: 8}, 2},
		{Options{CloseAfterUse: true}, 5},
	} {
		for range 3 {
			res, err := client(t, c.options).Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ReadAll(res, 10); err != nil {
				t.Fatal(err)
			}
		}
		if len(peers) != c.want {
			t.Errorf("%+v: %d connections so far, want %d", c.options, len(peers), c.want)
		}
	}
}

func TestRedirects(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/there", http.StatusFound)
		}
	}))
	defer server.Close()
	for follow, want := range map[bool]int{false: 302, true: 200} {
		res, err := client(t, Options{FollowRedirects: follow}).Get(server.URL + "/")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("follow %v: got %d, want %d", follow, res.StatusCode, want)
		}
	}
}

func TestCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	root := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	for _, c := range []struct {
		options Options
		trusted bool
	}{
		{Options{}, false},
		{Options{SkipVerify: true}, true},
		{Options{CACertificates: root}, true},
	} {
		res, err := client(t, c.options).Get(server.URL)
		if err == nil {
			res.Body.Close()
		}
		if (err == nil) != c.trusted {
			t.Errorf("skip %v, root %v: got %v", c.options.SkipVerify, c.options.CACertificates != "", err)
		}
	}
}

func TestHTTP2(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	for http2, want := range map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"} {
		res, err := client(t, Options{HTTP2: http2}).Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ReadAll(res, 100); string(got) != want || err != nil {
			t.Errorf("got %s (%v), want %s", got, err, want)
		}
	}
}

func TestTimeout(t *testing.T) {
	release := make(chan bool)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	_, err := client(t, Options{Timeout: 20 * time.Millisecond}).Get(server.URL)
	var timeout interface{ Timeout() bool }
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v, want a timeout", err)
	}
}

func TestProxy(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.String()) }))
	defer proxy.Close()
	res, err := client(t, Options{Proxy: proxy.URL}).Get("http://service.test/x")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := ReadAll(res, 100); string(body) != "http://service.test/x" || err != nil {
		t.Errorf("proxy got %q, %v", body, err)
	}
}

func TestReadAllIsBounded(t *testing.T) {
	for limit, want := range map[int64]error{4: nil, 3: ErrTooLarge} {
		_, err := ReadAll(&http.Response{Body: io.NopCloser(strings.NewReader("four"))}, limit)
		if err != want {
			t.Errorf("limit %d: got %v, want %v", limit, err, want)
		}
	}
}

func TestBadOptions(t *testing.T) {
	for want, options := range map[string]Options{
		"CA certificates: no PEM certificate in them":                      {CACertificates: "x"},
		"client certificate: tls: failed to find any PEM data":             {Certificate: "x", Key: "y"},
		`proxy "socks5://h:1": want http://host:port or https://host:port`: {Proxy: "socks5://h:1"},
	} {
		if _, err := Client(options); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
