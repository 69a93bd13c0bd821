// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/andogate/ando/admin/standalone"
	andocaddy "github.com/andogate/ando/modules/caddy"
)

// endpoint is an address as APISIX spells it: a port, or an ip and a port.
type endpoint struct {
	IP          string `yaml:"ip"`
	Port        int    `yaml:"port"`
	EnableHTTP2 bool   `yaml:"enable_http2"`
}

func (e endpoint) address(ip string, port int) string {
	if e.IP != "" {
		ip = e.IP
	}
	if e.Port != 0 {
		port = e.Port
	}
	return net.JoinHostPort(ip, strconv.Itoa(port))
}

// endpoints reads 9080, [9080, 9081] and [{ip: 127.0.0.1, port: 9080}].
type endpoints []endpoint

func (es *endpoints) UnmarshalYAML(n *yaml.Node) error {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	for _, item := range items {
		var e endpoint
		err := error(nil)
		if item.Kind == yaml.ScalarNode {
			err = item.Decode(&e.Port)
		} else {
			err = item.Decode(&e)
		}
		if err != nil {
			return err
		}
		*es = append(*es, e)
	}
	return nil
}

// apisixSettings is what the adapter takes from a config.yaml.
type apisixSettings struct {
	Apisix struct {
		NodeListen endpoints `yaml:"node_listen"`
		Router     struct {
			HTTP string `yaml:"http"`
		} `yaml:"router"`
		ProxyMode          string      `yaml:"proxy_mode"`
		StreamProxy        streamProxy `yaml:"stream_proxy"`
		EnableControl      *bool       `yaml:"enable_control"`
		Control            endpoint    `yaml:"control"`
		Status             *endpoint   `yaml:"status"`
		TrustedAddresses   []string    `yaml:"trusted_addresses"`
		ShowUpstreamStatus bool        `yaml:"show_upstream_status_in_response_header"`
		DNSResolver        []string    `yaml:"dns_resolver"`
		DNSResolverValid   float64     `yaml:"dns_resolver_valid"`
		ResolverTimeout    float64     `yaml:"resolver_timeout"`
		SSL                struct {
			Enable      *bool     `yaml:"enable"`
			Listen      endpoints `yaml:"listen"`
			FallbackSNI string    `yaml:"fallback_sni"`
			Trusted     string    `yaml:"ssl_trusted_certificate"`
		} `yaml:"ssl"`
	} `yaml:"apisix"`
	Deployment struct {
		Role     string `yaml:"role"`
		AsPlane  role   `yaml:"role_data_plane"`
		AsBoth   role   `yaml:"role_traditional"`
		AsMaster role   `yaml:"role_control_plane"`
		Admin    struct {
			Listen endpoint `yaml:"admin_listen"`
			Keys   []struct {
				Name string `yaml:"name"`
				Key  string `yaml:"key"`
				Role string `yaml:"role"`
			} `yaml:"admin_key"`
		} `yaml:"admin"`
	} `yaml:"deployment"`
	Plugins       []string       `yaml:"plugins"`
	StreamPlugins []string       `yaml:"stream_plugins"`
	Discovery     map[string]any `yaml:"discovery"`
}

type role struct {
	ConfigProvider string `yaml:"config_provider"`
}

// translated are the settings that the adapter has read when it is done, by their dotted names. Others get a warning.
var translated = []string{
	"apisix.node_listen", "apisix.router.http", "apisix.enable_control", "apisix.control.ip", "apisix.control.port",
	"apisix.status.ip", "apisix.status.port", "apisix.trusted_addresses", "apisix.show_upstream_status_in_response_header",
	"apisix.proxy_mode", "apisix.stream_proxy.tcp", "apisix.stream_proxy.udp", "stream_plugins",
	"apisix.ssl.enable", "apisix.ssl.listen", "apisix.ssl.fallback_sni",
	"apisix.ssl.ssl_trusted_certificate",
	"deployment.role", "deployment.role_data_plane.config_provider", "deployment.role_traditional.config_provider",
	"deployment.role_control_plane.config_provider",
	"deployment.admin.admin_listen.ip", "deployment.admin.admin_listen.port", "deployment.admin.admin_key", "plugins",
	"discovery", "apisix.dns_resolver", "apisix.dns_resolver_valid", "apisix.resolver_timeout",
}

// readSettings reads a config.yaml, and says whether the text is one.
func (a *apisixFile) readSettings(body []byte) (is bool, err error) {
	text, err := standalone.Substitute(string(body), standalone.Environment)
	if err != nil {
		return false, err
	}
	var members map[string]any
	if err := yaml.Unmarshal([]byte(text), &members); err != nil {
		// What it is can be said better once it is clear what it should be.
		return false, nil //nolint:nilerr // the document's reader says it
	}
	if members["apisix"] == nil && members["deployment"] == nil {
		return false, nil
	}
	var s apisixSettings
	if err := yaml.Unmarshal([]byte(text), &s); err != nil {
		return true, err
	}
	for _, name := range ignored(members, "") {
		a.warn("%s: not translated", name)
	}
	return true, a.apply(&s)
}

// ignored lists the settings that stay behind.
func ignored(members map[string]any, prefix string) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(members)) {
		full := prefix + name
		inner, isMap := members[name].(map[string]any)
		switch {
		case slices.Contains(translated, full):
		case isMap && slices.ContainsFunc(translated, func(known string) bool { return strings.HasPrefix(known, full+".") }):
			names = append(names, ignored(inner, full+".")...)
		default:
			names = append(names, full)
		}
	}
	return names
}

func (a *apisixFile) apply(s *apisixSettings) error {
	if len(s.Apisix.NodeListen) > 0 {
		a.listen = nil
	}
	for _, e := range s.Apisix.NodeListen {
		a.listen = append(a.listen, e.address("", 9080))
	}
	if len(s.Apisix.SSL.Listen) > 0 {
		a.secure = nil
	}
	for _, e := range s.Apisix.SSL.Listen {
		a.secure = append(a.secure, e.address("", 9443))
	}
	if s.Apisix.SSL.Enable != nil && !*s.Apisix.SSL.Enable {
		a.secure = nil
	}
	a.app.FallbackSNI = s.Apisix.SSL.FallbackSNI
	a.app.TrustedCertificates = s.Apisix.SSL.Trusted
	a.app.Router = s.Apisix.Router.HTTP
	a.app.TrustedAddresses = s.Apisix.TrustedAddresses
	a.app.ShowUpstreamStatus = s.Apisix.ShowUpstreamStatus
	switch {
	case s.Apisix.EnableControl != nil && !*s.Apisix.EnableControl:
		a.app.Control = &andocaddy.ControlConfig{Disabled: true}
	case s.Apisix.Control != endpoint{}:
		a.app.Control = &andocaddy.ControlConfig{Listen: s.Apisix.Control.address("127.0.0.1", 9090)}
	}
	if status := s.Apisix.Status; status != nil {
		a.app.Status = &andocaddy.StatusConfig{Listen: status.address("127.0.0.1", 7085)}
	}
	if s.Plugins != nil {
		if err := a.allow(s.Plugins); err != nil {
			return err
		}
	}
	if err := a.applyStream(s); err != nil {
		return err
	}
	if err := a.applyDiscovery(s); err != nil {
		return err
	}
	a.applyAdmin(s)
	return a.applyProvider(s)
}

func (a *apisixFile) applyAdmin(s *apisixSettings) {
	a.app.Admin = new(andocaddy.AdminConfig)
	admin := &s.Deployment.Admin
	for _, key := range admin.Keys {
		a.app.Admin.Keys = append(a.app.Admin.Keys, andocaddy.AdminKey{Name: key.Name, Key: key.Key, Role: key.Role})
	}
	if admin.Listen != (endpoint{}) {
		a.app.Admin.Listen = admin.Listen.address("", 9180)
	}
}

// applyProvider chooses the store that does what APISIX's provider does in its role.
func (a *apisixFile) applyProvider(s *apisixSettings) error {
	name, r := s.Deployment.Role, s.Deployment.AsBoth
	switch name {
	case "data_plane":
		r = s.Deployment.AsPlane
		a.app.Admin = &andocaddy.AdminConfig{Disabled: true}
	case "control_plane":
		r = s.Deployment.AsMaster
	case "", "traditional":
		name = "traditional"
	default:
		return fmt.Errorf("deployment.role: %q is not one of traditional, control_plane, data_plane", name)
	}
	switch provider := r.ConfigProvider; {
	case provider == "" || provider == "etcd":
		if name == "data_plane" {
			return errors.New("deployment.role_data_plane.config_provider: etcd is not supported yet: yaml and json are")
		}
		a.warn("deployment: objects are kept in Caddy's data directory, and not in etcd")
	case name == "traditional" && provider == "yaml":
		a.app.StoreRaw = json.RawMessage(`{"module":"standalone"}`)
	case name == "data_plane" && (provider == "yaml" || provider == "json"):
		path, err := json.Marshal(filepath.Join(filepath.Dir(a.name), "apisix."+provider))
		if err != nil {
			return err
		}
		a.app.StoreRaw = fmt.Appendf(nil, `{"module":"file","path":%s}`, path)
	default:
		return fmt.Errorf("deployment.role_%s.config_provider: %q is not supported", name, provider)
	}
	return nil
}
