// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/andogate/ando/modules/gateway"
)

// StreamConfig says where connections for stream routes come in: what APISIX's `proxy_mode` and `stream_proxy` say. With it
// the Admin API has stream routes. Sockets, connections and UDP sessions outlive reloads.
type StreamConfig struct {
	// The TCP addresses to listen on.
	TCP []StreamListener `json:"tcp,omitempty"`

	// The UDP addresses to listen on.
	UDP []StreamListener `json:"udp,omitempty"`

	// The stream plugins that may be used. Default: every one in this build.
	Plugins []string `json:"plugins,omitempty"`

	// How long connections may go on when the process ends. Default: 10s.
	GracePeriod caddy.Duration `json:"grace_period,omitempty"`
}

// StreamListener is one address for streams.
type StreamListener struct {
	// The address, such as :9100.
	Listen string `json:"listen"`

	// End TLS here, with the certificates of ssl objects or else Caddy's. Otherwise TLS is passed on as it comes, and routes
	// can still go by its server name. For TCP alone.
	TLS bool `json:"tls,omitempty"`
}

const defaultStreamGrace = caddy.Duration(10 * time.Second)

// provisionStream checks the config, and makes the TLS config of its listeners.
func (a *App) provisionStream(ctx caddy.Context) error {
	c := a.Stream
	if c == nil {
		return nil
	}
	if c.GracePeriod == 0 {
		c.GracePeriod = defaultStreamGrace
	}
	taken, secure := map[string]bool{}, false
	for network, listeners := range map[string][]StreamListener{"tcp": c.TCP, "udp": c.UDP} {
		for i := range listeners {
			l := &listeners[i]
			address, err := streamAddress(network, l.Listen)
			if err != nil {
				return err
			}
			l.Listen = address
			key := network + "/" + address
			switch {
			case taken[key]:
				return fmt.Errorf("%s: %s is given twice", network, address)
			case l.TLS && network == "udp":
				return fmt.Errorf("udp: %s: tls is for tcp alone", address)
			case network == "tcp" && (address == a.Admin.Listen || address == a.Control.Listen):
				return fmt.Errorf("tcp: %s is the address of one of the gateway's APIs", address)
			}
			taken[key], secure = true, secure || l.TLS
		}
	}
	if len(c.Plugins) > 0 {
		if err := a.allowStreamPlugins(); err != nil {
			return err
		}
	}
	if !secure {
		return nil
	}
	return a.secureStreams(ctx)
}

// streamAddress completes an address. A port is required: there is no usual one.
func streamAddress(network, text string) (string, error) {
	parsed, err := caddy.ParseNetworkAddressWithDefaults(text, network, 0)
	if err != nil {
		return "", fmt.Errorf("%s: %w", network, err)
	}
	if parsed.Network != network || parsed.PortRangeSize() != 1 || parsed.StartPort == 0 {
		return "", fmt.Errorf("%s: one address with a port, such as :9100, is expected, not %q", network, text)
	}
	return parsed.JoinHostPort(0), nil
}

func (a *App) allowStreamPlugins() error {
	all := gateway.RegisteredStreamPlugins()
	a.streamPlugins = gateway.Plugins{}
	for _, name := range a.Stream.Plugins {
		if all[name] == nil {
			return fmt.Errorf("plugins: %q is not in this build", name)
		}
		a.streamPlugins[name] = all[name]
	}
	return nil
}

// secureStreams makes what TLS that ends at a listener is done with: as sites do it with one policy for all names, but for
// the protocols above TLS, of which only nodes know any.
func (a *App) secureStreams(ctx caddy.Context) error {
	policies := caddytls.ConnectionPolicies{new(caddytls.ConnectionPolicy)}
	if err := policies.Provision(ctx); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	config := policies[0].TLSConfig
	if config == nil {
		return errors.New("tls: there is no config")
	}
	config.NextProtos = nil
	next := config.GetCertificate
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if cert, err := a.ssls.certificate(hello); cert != nil || err != nil {
			return cert, err
		}
		return next(hello)
	}
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		ssl := a.ssls.find(hello.Context(), hello.ServerName)
		if ssl == nil || ssl.Client == nil && len(ssl.Versions) == 0 {
			return nil, nil
		}
		return streamConfigFor(config, ssl, hello), nil
	}
	a.streamTLS = config
	return nil
}

// streamConfigFor is config with what an ssl object asks for. A stream has no paths for which it would ask less.
func streamConfigFor(config *tls.Config, ssl *gateway.SSL, hello *tls.ClientHelloInfo) *tls.Config {
	config = config.Clone()
	config.GetConfigForClient = nil
	if len(ssl.Versions) > 0 {
		config.MinVersion, config.MaxVersion = versionRange(ssl.Versions, hello.SupportedVersions)
		if config.MinVersion == tls.VersionTLS11 {
			config.CipherSuites = append(slices.Clip(config.CipherSuites), legacyCipherSuites...)
		}
	}
	if ssl.Client != nil {
		config.ClientAuth = tls.RequireAnyClientCert
		config.VerifyConnection = func(state tls.ConnectionState) error { return ssl.Client.Verify(state.PeerCertificates) }
	}
	return config
}
