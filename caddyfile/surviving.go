// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// AdapterName is the name of the config adapter that reads a Caddyfile as Caddy's own does, and then puts every server with
// an `ando` handler on the network `ando` and under the listener wrapper `ando`, so that its connections outlive reloads.
// The ando command uses it for Caddyfiles; other binaries do with `--adapter ando`.
const AdapterName = "ando"

func init() { caddyconfig.RegisterAdapter(AdapterName, survivingAdapter{}) }

type survivingAdapter struct{}

// Adapt adapts a Caddyfile. What the file itself says about networks and listener wrappers stands.
func (survivingAdapter) Adapt(body []byte, options map[string]any) ([]byte, []caddyconfig.Warning, error) {
	raw, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(body, options)
	if err != nil {
		return nil, warnings, err
	}
	if raw, err = surviving(raw); err != nil {
		return nil, warnings, err
	}
	raw, err = nameConfigAPI(raw)
	return raw, warnings, err
}

// nameConfigAPI tells the ando app where the file has Caddy's admin endpoint, unless it has said so itself.
func nameConfigAPI(config []byte) ([]byte, error) {
	var given struct {
		Admin struct {
			Disabled bool   `json:"disabled"`
			Listen   string `json:"listen"`
		} `json:"admin"`
	}
	if err := json.Unmarshal(config, &given); err != nil {
		return nil, err
	}
	address := given.Admin.Listen
	if given.Admin.Disabled {
		address = "off"
	}
	if address == "" {
		return config, nil
	}
	return edit(config, []string{"apps", "ando"}, func(raw json.RawMessage) (json.RawMessage, error) {
		var app map[string]json.RawMessage
		if err := json.Unmarshal(raw, &app); err != nil {
			return nil, err
		}
		if app["config_api"] == nil {
			quoted, err := json.Marshal(address)
			if err != nil {
				return nil, err
			}
			app["config_api"] = quoted
		}
		return json.Marshal(app)
	})
}

// surviving edits the servers of a Caddy config.
func surviving(config []byte) ([]byte, error) {
	return edit(config, []string{"apps", "http", "servers"}, func(raw json.RawMessage) (json.RawMessage, error) {
		var servers map[string]map[string]json.RawMessage
		if err := json.Unmarshal(raw, &servers); err != nil {
			return nil, err
		}
		for _, server := range servers {
			if !hasGateway(server["routes"]) {
				continue
			}
			if err := survive(server); err != nil {
				return nil, err
			}
		}
		return json.Marshal(servers)
	})
}

// edit replaces the value at a path of member names. A document that has no such path stays as it is.
func edit(document []byte, path []string, change func(json.RawMessage) (json.RawMessage, error)) ([]byte, error) {
	if len(path) == 0 {
		return change(document)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(document, &object); err != nil {
		return nil, err
	}
	inner, ok := object[path[0]]
	if !ok {
		return document, nil
	}
	inner, err := edit(inner, path[1:], change)
	if err != nil {
		return nil, err
	}
	object[path[0]] = inner
	return json.Marshal(object)
}

// hasGateway reports whether an `ando` handler stands anywhere in a route list.
func hasGateway(routes json.RawMessage) bool {
	var list []struct {
		Handle []struct {
			Handler string          `json:"handler"`
			Routes  json.RawMessage `json:"routes"`
		} `json:"handle"`
	}
	if json.Unmarshal(routes, &list) != nil {
		return false
	}
	for _, route := range list {
		for _, handler := range route.Handle {
			if handler.Handler == "ando" || handler.Routes != nil && hasGateway(handler.Routes) {
				return true
			}
		}
	}
	return false
}

// survive puts a server on the network and under the wrapper.
func survive(server map[string]json.RawMessage) error {
	var listen []string
	if err := json.Unmarshal(server["listen"], &listen); err != nil {
		return err
	}
	for i, address := range listen {
		if !strings.Contains(address, "/") {
			listen[i] = "ando/" + address
		}
	}
	var err error
	if server["listen"], err = json.Marshal(listen); err != nil {
		return err
	}
	if server["listener_wrappers"] == nil {
		server["listener_wrappers"] = json.RawMessage(`[{"wrapper":"ando"}]`)
	}
	return nil
}
