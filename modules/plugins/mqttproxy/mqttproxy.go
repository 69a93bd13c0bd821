// SPDX-License-Identifier: Apache-2.0

// Package mqttproxy is the stream plugin mqtt-proxy: it lets clients of one version of MQTT through, and tells the balancer
// who they are.
package mqttproxy

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

const name = "mqtt-proxy"

func init() {
	gateway.RegisterStreamPlugin(&gateway.Plugin{
		Name: name, Priority: 1000, Version: 0.1, Blocking: true, Schema: configSchema, New: compile,
	})
}

// mqttProxy is one config. It is immutable.
type mqttProxy struct {
	protocol string
	level    int
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Name  string  `json:"protocol_name"`
		Level float64 `json:"protocol_level"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("mqtt-proxy: %w", err)
	}
	return &mqttProxy{c.Name, int(c.Level)}, nil
}

// variable is what chash hashes with `"key": "mqtt_client_id"`.
const variable = "mqtt_client_id"

// refused is the status that logs have for a client that speaks something else.
const refused = 400

// Access looks at the packet with which the client begins. Without a client id a node is picked by the client's address.
func (m *mqttProxy) Access(x *gateway.Exchange) gateway.Verdict {
	c, err := readConnect(x.Preread)
	if err != nil || c.protocol != m.protocol || c.level != m.level {
		return x.Exit(refused, nil)
	}
	if c.clientID != "" {
		x.SetVar(variable, c.clientID)
	}
	return gateway.Continue
}

var _ gateway.Accessor = (*mqttProxy)(nil)
