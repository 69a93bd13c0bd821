// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/andogate/ando/admin/control"
	"github.com/andogate/ando/modules/gateway"
)

// The addresses of APISIX's control and status API.
const (
	defaultControlAddress = "127.0.0.1:9090"
	defaultStatusPort     = 7085
)

// ControlConfig says where APISIX's control API is: what the gateway holds in memory, for operators. It asks for no key
// and changes nothing. An address that is taken is logged, and the gateway goes on without.
type ControlConfig struct {
	// The TCP address to listen on. Default: 127.0.0.1:9090.
	Listen string `json:"listen,omitempty"`

	// Do not listen.
	Disabled bool `json:"disabled,omitempty"`

	host string
}

// StatusConfig says where APISIX's status API is, for probes: /status answers while the process runs, /status/ready when
// it serves requests. Without this there is none.
type StatusConfig struct {
	// The TCP address to listen on. The port is 7085 when it is left out.
	Listen string `json:"listen,omitempty"`
}

func (a *App) provisionControl() error {
	if a.Control == nil {
		a.Control = new(ControlConfig)
	}
	taken := map[string]string{}
	if !a.Admin.Disabled {
		taken[a.Admin.Listen] = "admin"
	}
	if c := a.Control; c.Disabled {
		c.Listen = ""
	} else {
		if c.Listen == "" {
			c.Listen = defaultControlAddress
		}
		var err error
		if c.Listen, c.host, err = apiAddress(c.Listen, 9090); err != nil {
			return fmt.Errorf("control: %w", err)
		}
		if other := taken[c.Listen]; other != "" {
			return fmt.Errorf("control: listen: %s is the address of %s", c.Listen, other)
		}
		taken[c.Listen] = "control"
	}
	if a.Status == nil {
		return nil
	}
	var err error
	if a.Status.Listen, _, err = apiAddress(a.Status.Listen, defaultStatusPort); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	if other := taken[a.Status.Listen]; other != "" {
		return fmt.Errorf("status: listen: %s is the address of %s", a.Status.Listen, other)
	}
	return nil
}

// apiAddress completes the address of one TCP listener.
func apiAddress(text string, port uint) (address, host string, err error) {
	parsed, err := caddy.ParseNetworkAddressWithDefaults(text, "tcp", port)
	if err != nil {
		return "", "", fmt.Errorf("listen: %w", err)
	}
	if text == "" || !strings.HasPrefix(parsed.Network, "tcp") || parsed.PortRangeSize() != 1 {
		return "", "", fmt.Errorf("listen: one TCP address is expected, not %q", text)
	}
	return parsed.JoinHostPort(0), parsed.Host, nil
}

// listen begins to serve the control API of a gateway. The lease is nil when there is none.
func (c *ControlConfig) listen(r *running, plugins, streamPlugins gateway.Plugins, log *zap.Logger) (*adminLease, error) {
	if c.Disabled {
		return nil, nil
	}
	local := loopback(c.host)
	handler, err := control.New(control.Config{
		Gateway: r.gateway, Plugins: plugins, StreamPlugins: streamPlugins, Health: r.health, Discovery: r.discovery.Pool, AnyHost: !local, Log: newestLog,
	})
	if err != nil {
		return nil, err
	}
	lease, addr, err := leaseAdmin(c.Listen, handler)
	if err != nil {
		log.Warn("there is no control API, since its address cannot be had", zap.String("address", c.Listen), zap.Error(err))
		return nil, nil
	}
	log.Info("the control API is open", zap.Stringer("address", addr))
	if !local {
		log.Warn("the control API asks for no key, and other machines can reach it", zap.Stringer("address", addr))
	}
	return lease, nil
}

// listen begins to serve the status API, before there is anything to be ready.
func (c *StatusConfig) listen() (*adminLease, error) {
	if c == nil {
		return nil, nil
	}
	lease, _, err := leaseAdmin(c.Listen, statusHandler)
	if err != nil {
		return nil, fmt.Errorf("status: listen: %w", err)
	}
	return lease, nil
}

var statusHandler http.Handler = control.Status(notReady, configBehind)

// notReady lists why this process serves no requests. The config before serves while the next one starts.
func notReady() (reasons []string) {
	if caddy.Exiting() {
		return []string{"the process is shutting down"}
	}
	if started.newest() == nil {
		reasons = append(reasons, "the gateway has not received configuration")
	}
	// Until every app of a config has started its context is not the active one.
	if _, err := caddy.ActiveContext().AppIfConfigured("ando"); err != nil {
		reason := "the configuration has not been started"
		if !errors.Is(err, caddy.ErrNotConfigured) {
			reason += ": " + err.Error()
		}
		reasons = append(reasons, reason)
	}
	return reasons
}
