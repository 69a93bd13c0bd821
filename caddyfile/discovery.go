// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	andocaddy "github.com/andogate/ando/modules/caddy"
	"github.com/andogate/ando/modules/upstream/discovery"
)

// parseDiscovery reads a block for each registry, with the words that APISIX has for its settings:
//
//	discovery {
//		resolver {
//			servers 10.0.0.53
//		}
//		consul {
//			servers http://127.0.0.1:8500
//		}
//	}
//
// Several clusters of kubernetes have a block each, with an id in front of it.
func parseDiscovery(d *caddyfile.Dispenser, app *andocaddy.App) error {
	if app.Discovery != nil {
		return d.Errf("discovery is given twice")
	}
	nesting := d.Nesting()
	if d.NextArg() {
		return d.ArgErr()
	}
	registries := map[string]any{}
	for d.NextBlock(nesting) {
		if err := parseRegistry(d, registries); err != nil {
			return err
		}
	}
	var err error
	if app.Discovery, err = json.Marshal(registries); err != nil {
		return d.WrapErr(err)
	}
	if _, err := discovery.Parse(app.Discovery); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// parseRegistry reads the settings of one registry, or of one of its clusters.
func parseRegistry(d *caddyfile.Dispenser, registries map[string]any) error {
	name, nesting := d.Val(), d.Nesting()
	if name == "kubernetes" && d.NextArg() {
		cluster := map[string]any{"id": d.Val()}
		if d.NextArg() {
			return d.ArgErr()
		}
		settings, err := block(d, nesting)
		if err != nil {
			return err
		}
		maps.Copy(cluster, settings)
		clusters, ok := registries[name].([]any)
		if !ok && registries[name] != nil {
			return d.Errf("kubernetes: either one cluster or several with ids")
		}
		registries[name] = append(clusters, cluster)
		return nil
	}
	if registries[name] != nil {
		return d.Errf("%s is given twice", name)
	}
	settings, err := value(d)
	registries[name] = settings
	return err
}

// needless are settings that make no difference here: every process has the nodes in its own memory, and keeps those it
// knows when a registry is down.
var needless = []string{"dump", "shared_size", "sort_type"}

// applyDiscovery takes over the discovery block of a config.yaml, and how it has names resolved.
func (a *apisixFile) applyDiscovery(s *apisixSettings) error {
	registries := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(s.Discovery)) {
		settings := s.Discovery[name]
		if !slices.Contains(discovery.Types(), name) {
			a.warn("discovery.%s: not translated: there is no such registry here", name)
			continue
		}
		// Several clusters are an array.
		clusters, several := settings.([]any)
		if !several {
			clusters = []any{settings}
		}
		for _, cluster := range clusters {
			members, _ := cluster.(map[string]any)
			for _, setting := range needless {
				if _, ok := members[setting]; ok {
					a.warn("discovery.%s.%s: not translated", name, setting)
					delete(members, setting)
				}
			}
		}
		registries[name] = settings
	}
	resolver := map[string]any{}
	if len(s.Apisix.DNSResolver) > 0 {
		resolver["servers"] = s.Apisix.DNSResolver
	}
	if s.Apisix.DNSResolverValid > 0 {
		resolver["valid"] = s.Apisix.DNSResolverValid
	}
	if s.Apisix.ResolverTimeout > 0 {
		resolver["timeout"] = s.Apisix.ResolverTimeout
	}
	if len(resolver) > 0 {
		registries["resolver"] = resolver
	}
	if len(registries) == 0 {
		return nil
	}
	raw, err := json.Marshal(registries)
	if err != nil {
		return err
	}
	if _, err := discovery.Parse(raw); err != nil {
		return err
	}
	a.app.Discovery = raw
	return nil
}
