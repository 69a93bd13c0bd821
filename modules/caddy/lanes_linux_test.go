// SPDX-License-Identifier: Apache-2.0

package andocaddy_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	andocaddy "github.com/andogate/ando/modules/caddy"
)

// TestLanesServe: connections of the gateway's sites, plain and with TLS, are on event loops unless lanes are off; those
// of HTTP/2 are not.
func TestLanesServe(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	defer node.Close()
	for _, lane := range []string{"poll", "off"} {
		plain, secure := freePort(t), freePort(t)
		config := gatewayConfig(t, lane, strings.TrimPrefix(node.URL, "http://"), plain, secure, "0")
		if err := caddy.Load(config, true); err != nil {
			t.Fatal(err)
		}
		defer caddy.Stop()
		waitForCertificate(t, secure)
		for _, c := range []struct {
			name, url string
			h2        bool
		}{
			{"plain", fmt.Sprintf("http://127.0.0.1:%d/", plain), false},
			{"tls", fmt.Sprintf("https://127.0.0.1:%d/", secure), false},
			{"h2", fmt.Sprintf("https://127.0.0.1:%d/", secure), true},
		} {
			t.Run(lane+"/"+c.name, func(t *testing.T) {
				transport := &http.Transport{
					ForceAttemptHTTP2: c.h2, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"},
				}
				defer transport.CloseIdleConnections()
				before := andocaddy.LaneConns(lane)
				res, err := (&http.Client{Transport: transport}).Get(c.url)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
				// On a loop there are now the client's connection and one to the node, which may have been there before.
				onLoop := andocaddy.LaneConns(lane) > before
				if want := lane != "off" && !c.h2; onLoop != want {
					t.Errorf("on an event loop: %v, want %v", onLoop, want)
				}
			})
		}
		caddy.Stop()
	}
}
