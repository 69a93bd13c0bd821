// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// TestSurvivingAdapter: servers with the gateway are put where reloads do not reach them, the others and what the file
// says itself stay.
func TestSurvivingAdapter(t *testing.T) {
	raw, _, err := caddyconfig.GetAdapter(AdapterName).Adapt([]byte(`
		{
			servers :8003 {
				listener_wrappers {
					http_redirect
					tls
				}
			}
		}
		:8001 {
			ando
		}
		:8002 {
			respond hello
		}
		:8003 {
			ando
		}
		http://shop.example.com:8004 {
			bind tcp4/127.0.0.1
			handle /api/* {
				ando
			}
		}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct {
					Listen   []string          `json:"listen"`
					Wrappers []json.RawMessage `json:"listener_wrappers"`
				} `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	wrappers := map[string]string{}
	for _, server := range config.Apps.HTTP.Servers {
		text, err := json.Marshal(server.Wrappers)
		if err != nil {
			t.Fatal(err)
		}
		wrappers[server.Listen[0]] = string(text)
	}
	want := map[string]string{
		"ando/:8001":          `[{"wrapper":"ando"}]`,
		":8002":               `null`,
		"ando/:8003":          `[{"wrapper":"http_redirect"},{"wrapper":"tls"}]`,
		"tcp4/127.0.0.1:8004": `[{"wrapper":"ando"}]`,
	}
	for address, wrapped := range want {
		if wrappers[address] != wrapped {
			t.Errorf("%s: got wrappers %q, want %q (all: %v)", address, wrappers[address], wrapped, wrappers)
		}
	}
}

// The adapter knows where the file has Caddy's admin endpoint.
func TestSurvivingAdapterNamesTheConfigAPI(t *testing.T) {
	for _, c := range []struct{ options, want string }{
		{"ando\n", ""},
		{"admin localhost:2020\nando\n", "localhost:2020"},
		{"admin off\nando\n", "off"},
		{"admin localhost:2020\nando {\nconfig_api unix//run/caddy.sock\ncertificate_wait 3s\n}\n", "unix//run/caddy.sock"},
	} {
		raw, _, err := caddyconfig.GetAdapter(AdapterName).Adapt([]byte("{\n"+c.options+"}\n:8001 {\nando\n}\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		var config struct {
			Apps struct {
				Ando struct {
					ConfigAPI string `json:"config_api"`
				} `json:"ando"`
			} `json:"apps"`
		}
		if err := json.Unmarshal(raw, &config); err != nil {
			t.Fatal(err)
		}
		if got := config.Apps.Ando.ConfigAPI; got != c.want {
			t.Errorf("%q: got %q, want %q", c.options, got, c.want)
		}
	}
}
