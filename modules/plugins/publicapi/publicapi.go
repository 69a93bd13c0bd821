// SPDX-License-Identifier: Apache-2.0

// Package publicapi is APISIX's public-api plugin: a route with it leads to an API that another plugin offers.
package publicapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

const name = "public-api"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 501, Version: 0.1, Blocking: true, Schema: configSchema, New: compile,
	})
}

// endpoints has the APIs of all plugins by path; that of one with a wildcard ends in a slash here. Plugins are registered before
// any config is compiled.
var endpoints = sync.OnceValue(func() map[string][]gateway.Endpoint {
	all := make(map[string][]gateway.Endpoint)
	for _, plugin := range gateway.RegisteredPlugins().Sorted() {
		for _, endpoint := range plugin.Endpoints {
			path := strings.TrimSuffix(endpoint.Path, "*")
			all[path] = append(all[path], endpoint)
		}
	}
	return all
})

// publicAPI is one compiled config. It is immutable.
type publicAPI struct {
	// path is that of the API; empty is the request's.
	path      string
	endpoints map[string][]gateway.Endpoint
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		URI string `json:"uri"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("public-api: %w", err)
	}
	return &publicAPI{c.URI, endpoints()}, nil
}

// Access implements gateway.Accessor.
func (p *publicAPI) Access(x *gateway.Exchange) gateway.Verdict {
	path := p.path
	if path == "" {
		path = x.Request.Path
	}
	if serve := p.find(path, x.Request.Method); serve != nil {
		return serve(x)
	}
	return x.Exit(404, nil)
}

// find returns the API for a path, or that with a wildcard for the longest beginning of it.
func (p *publicAPI) find(path, method string) func(x *gateway.Exchange) gateway.Verdict {
	for {
		for _, endpoint := range p.endpoints[path] {
			if slices.Contains(endpoint.Methods, method) {
				return endpoint.Serve
			}
		}
		end := strings.LastIndexByte(strings.TrimSuffix(path, "/"), '/')
		if end < 0 {
			return nil
		}
		path = path[:end+1]
	}
}

var _ gateway.Accessor = (*publicAPI)(nil)
