// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	andocaddy "github.com/andogate/ando/modules/caddy"
	"github.com/andogate/ando/modules/gateway"
)

// streamProxy is where APISIX's stream proxy listens.
type streamProxy struct {
	TCP []streamEndpoint `yaml:"tcp"`
	UDP []streamEndpoint `yaml:"udp"`
}

// streamEndpoint reads 9100, "127.0.0.1:9100" and {addr: 9100, tls: true}.
type streamEndpoint struct {
	Addr string `yaml:"addr"`
	TLS  bool   `yaml:"tls"`
}

func (e *streamEndpoint) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		e.Addr = n.Value
		return nil
	}
	type plain streamEndpoint
	return n.Decode((*plain)(e))
}

func (e *streamEndpoint) listener() andocaddy.StreamListener {
	address := strings.TrimPrefix(e.Addr, "*")
	if _, err := strconv.ParseUint(address, 10, 16); err == nil {
		address = ":" + address
	}
	return andocaddy.StreamListener{Listen: address, TLS: e.TLS}
}

// applyStream takes over proxy_mode, stream_proxy and stream_plugins.
func (a *apisixFile) applyStream(s *apisixSettings) error {
	switch mode := s.Apisix.ProxyMode; mode {
	case "", "http":
		return nil
	case "stream":
		a.listen, a.secure = nil, nil
	case "http&stream":
	default:
		return fmt.Errorf("apisix.proxy_mode: %q is not one of http, stream, http&stream", mode)
	}
	a.app.Stream = new(andocaddy.StreamConfig)
	for _, e := range s.Apisix.StreamProxy.TCP {
		a.app.Stream.TCP = append(a.app.Stream.TCP, e.listener())
	}
	for _, e := range s.Apisix.StreamProxy.UDP {
		a.app.Stream.UDP = append(a.app.Stream.UDP, e.listener())
	}
	built := gateway.RegisteredStreamPlugins()
	var missing []string
	for _, name := range s.StreamPlugins {
		switch {
		case built[name] == nil:
			missing = append(missing, name)
		case !slices.Contains(a.app.Stream.Plugins, name):
			a.app.Stream.Plugins = append(a.app.Stream.Plugins, name)
		}
	}
	if len(missing) > 0 {
		a.warn("stream_plugins: not in this build: %s", strings.Join(missing, ", "))
	}
	if len(s.StreamPlugins) > 0 && len(a.app.Stream.Plugins) == 0 {
		return fmt.Errorf("stream_plugins: none of the list is in this build")
	}
	return nil
}
