// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// consulKeys finds services in Consul's key-value store: a key PREFIX/NAME/host:port is a node. Its value is an object, which
// may have the node's weight, and a check_status that takes it out.
type consulKeys struct {
	// servers are by their URLs, with which names of services begin; first is that of the others.
	servers map[string]*consul
	first   *consul
	prefix  string
	skip    []string
}

// newConsulKV reads APISIX's `discovery.consul_kv`.
func newConsulKV(settings json.RawMessage) (Source, error) {
	s := struct {
		*consulSettings
		Prefix string `json:"prefix"`
		Skip   texts  `json:"skip_keys"`
	}{consulSettings: defaultConsul(), Prefix: "upstreams"}
	if err := read(settings, &s); err != nil {
		return nil, err
	}
	first, err := s.open()
	if err != nil {
		return nil, err
	}
	keys := &consulKeys{servers: make(map[string]*consul), first: first, prefix: strings.Trim(s.Prefix, "/"), skip: s.Skip}
	for _, server := range s.Servers {
		own := *s.consulSettings
		own.Servers = texts{server}
		if keys.servers[strings.TrimSuffix(server, "/")+"/v1/kv/"], err = own.open(); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// Watch implements Source. The name of a service is the URL of its keys, as in APISIX, http://server/v1/kv/PREFIX/NAME/, or
// only what comes behind /v1/kv/.
func (k *consulKeys) Watch(ctx context.Context, q Query, report func([]Node)) error {
	folder, server := q.Name, k.first
	for base, one := range k.servers {
		if rest, ok := strings.CutPrefix(q.Name, base); ok {
			folder, server = rest, one
		}
	}
	if !strings.HasPrefix(folder, k.prefix+"/") {
		return fmt.Errorf("service_name %q: the keys of consul_kv are below %s/v1/kv/%s/", q.Name, server.web.servers[0].Host, k.prefix)
	}
	folder = strings.TrimSuffix(folder, "/") + "/"
	if slices.Contains(k.skip, folder) {
		report(server.orDefault(nil))
		<-ctx.Done()
		return ctx.Err()
	}
	question := request{path: "/kv/" + (&url.URL{Path: folder}).EscapedPath(), query: url.Values{"recurse": {"true"}}}
	return watchConsul(ctx, server, question, func(found []struct {
		Key   string
		Value []byte
	},
	) {
		var nodes []Node
		for _, pair := range found {
			if node, ok := server.nodeOf(strings.TrimPrefix(pair.Key, folder), pair.Value); ok {
				nodes = append(nodes, node)
			}
		}
		report(server.orDefault(nodes))
	})
}

// nodeOf reads one key, without the folder it is in, and its value.
func (c *consul) nodeOf(key string, value []byte) (Node, bool) {
	host, text, err := net.SplitHostPort(key)
	if err != nil || strings.Contains(key, "/") {
		return Node{}, false
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return Node{}, false
	}
	var state struct {
		Weight *int `json:"weight"`
		Status any  `json:"check_status"`
	}
	if json.Unmarshal(value, &state) != nil || state.Status == false || state.Status == "false" {
		return Node{}, false
	}
	node := Node{Host: host, Port: int(port), Weight: c.settings.Weight}
	if state.Weight != nil {
		node.Weight = *state.Weight
	}
	return node, true
}
