// SPDX-License-Identifier: Apache-2.0

package graphqlproxycache

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/cache"
)

// purge forgets a response: PURGE /apisix/plugin/graphql-proxy-cache/STRATEGY/ROUTE/KEY. The last three segments count, since
// the route with public-api may have another path.
func purge(x *gateway.Exchange) gateway.Verdict {
	segments := strings.Split(x.Request.Path, "/")
	if len(segments) < 4 {
		return x.Exit(http.StatusBadRequest, nil)
	}
	last := segments[len(segments)-3:]
	strategy, route, key := last[0], last[1], last[2]
	if strategy != "disk" && strategy != "memory" || route == "" || key == "" {
		return x.Exit(http.StatusBadRequest, nil)
	}
	s, ok := settingsOf(x.Table, route)
	switch {
	case !ok:
		return x.Exit(http.StatusNotFound, nil)
	case s.Strategy != strategy:
		return x.Exit(http.StatusBadRequest, nil)
	}
	zone := cache.Find(s.Zone)
	if zone == nil {
		return x.Exit(http.StatusNotFound, nil)
	}
	if found := zone.Remove(stored(key)); !found && strategy == "disk" {
		return x.Exit(http.StatusNotFound, nil)
	}
	return x.Exit(http.StatusOK, nil)
}

// settingsOf finds the config of a route: its own, that of its plugin config, or that of its service.
func settingsOf(table gateway.Table, id string) (settings, bool) {
	type object struct {
		Plugins      map[string]json.RawMessage `json:"plugins"`
		PluginConfig json.RawMessage            `json:"plugin_config_id"`
		Service      json.RawMessage            `json:"service_id"`
	}
	read := func(kind gateway.Kind, id string) (o object) {
		if stored, ok := table.Object(kind, id); ok {
			_ = json.Unmarshal(stored.Value, &o)
		}
		return o
	}
	route := read(gateway.Routes, id)
	for _, o := range [...]object{
		route, read(gateway.PluginConfigs, idOf(route.PluginConfig)), read(gateway.Services, idOf(route.Service)),
	} {
		config, ok := o.Plugins[name]
		if !ok {
			continue
		}
		s := settings{Strategy: "disk", Zone: cache.DefaultDiskZone}
		return s, json.Unmarshal(config, &s) == nil
	}
	return settings{}, false
}

// idOf returns an id, which is a text or a number.
func idOf(raw json.RawMessage) string { return strings.Trim(string(raw), `"`) }
