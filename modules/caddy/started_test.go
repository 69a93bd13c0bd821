// SPDX-License-Identifier: Apache-2.0

package andocaddy_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// lastApp is an app of configs whose start a test watches.
type lastApp struct{}

// lastAppStarts is called when a lastApp starts.
var lastAppStarts = func() error { return nil }

func init() { caddy.RegisterModule(lastApp{}) }

func (lastApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ando_test_last", New: func() caddy.Module { return new(lastApp) }}
}
func (lastApp) Start() error { return lastAppStarts() }
func (lastApp) Stop() error  { return nil }

// TestWhoAnswersMeanwhile: until every app of a config has started, the config before answers, and goes on when one fails.
func TestWhoAnswersMeanwhile(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	port := freePort(t)
	load := func(mark string) error {
		return caddy.Load(fmt.Appendf(nil, `{
			"admin": {"disabled": true, "config": {"persist": false}},
			"logging": {"logs": {"default": {"level": "PANIC"}}},
			"apps": {"ando_test_last": {}, "http": {"http_port": 1, "servers": {"s": {
				"listen": ["ando/127.0.0.1:%d"], "listener_wrappers": [{"wrapper": "ando"}], "automatic_https": {"disable": true},
				"routes": [{"handle": [{"handler": "static_response", "body": %q}]}]}}}}}`, port, mark), true)
	}
	client := &http.Client{Timeout: 10 * time.Second}
	ask := func() string {
		res, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		if err != nil {
			return err.Error()
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return string(body)
	}
	if err := load("0"); err != nil {
		t.Fatal(err)
	}
	defer caddy.Stop()
	defer func() { lastAppStarts = func() error { return nil } }()
	// Apps start in any order. In one of two rounds the server is there first.
	before := "0"
	for i := range 16 {
		fails := i%2 == 1
		lastAppStarts = func() error {
			if got := ask(); got != before {
				t.Errorf("round %d: before everything has started: %q, want %q", i, got, before)
			}
			if fails {
				return errors.New("as the test wishes")
			}
			return nil
		}
		mark := fmt.Sprint(i + 1)
		if err := load(mark); (err != nil) != fails {
			t.Fatal(err)
		}
		if !fails {
			before = mark
		}
		if got := ask(); got != before {
			t.Fatalf("round %d: %q, want %q", i, got, before)
		}
	}
}
