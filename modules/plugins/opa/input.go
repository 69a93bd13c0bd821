// SPDX-License-Identifier: Apache-2.0

package opa

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// input is what the policy decides about.
func (p *policy) input(x *gateway.Exchange) map[string]any {
	r := &x.Request
	port := int(r.Local.Port())
	in := map[string]any{
		"type": "http",
		"request": map[string]any{
			"scheme": r.Scheme, "method": r.Method, "host": r.Host, "port": port, "path": r.Path,
			"headers": fields(r), "query": query(r),
		},
		"var": map[string]any{
			"server_addr": r.Local.Addr().Unmap().String(), "server_port": strconv.Itoa(port),
			"remote_addr": r.ClientIP(), "remote_port": strconv.Itoa(int(r.Client.Port())),
			"timestamp": time.Now().Unix(),
		},
	}
	if p.route && x.Route != nil {
		in["route"] = object(x, gateway.Routes, x.Route.ID)
	}
	if p.service && x.Route != nil && x.Route.ServiceID != "" {
		in["service"] = object(x, gateway.Services, x.Route.ServiceID)
	}
	if p.consumer && x.Consumer != nil {
		in["consumer"] = object(x, gateway.Consumers, x.Consumer.Name)
	}
	return in
}

// fields are those of the request, by name in lower case. A field that is there more than once is a list.
func fields(r *gateway.Request) map[string]any {
	all := map[string]any{"host": r.RawHost}
	for name, value := range r.Header.All() {
		add(all, strings.ToLower(name), value)
	}
	return all
}

func query(r *gateway.Request) map[string]any {
	all := map[string]any{}
	for name, value := range r.Args() {
		add(all, name, value)
	}
	return all
}

func add(all map[string]any, name, value string) {
	switch before := all[name].(type) {
	case nil:
		all[name] = value
	case string:
		all[name] = []string{before, value}
	case []string:
		all[name] = append(before, value)
	}
}

// object is an object as it is stored, where secrets are encrypted. Where it forwards to is left out, as in APISIX, and so
// are the credentials of a consumer.
func object(x *gateway.Exchange, kind gateway.Kind, id string) any {
	o, ok := x.Table.Object(kind, id)
	if !ok {
		return nil
	}
	var value map[string]json.RawMessage
	if json.Unmarshal(o.Value, &value) != nil {
		return nil
	}
	delete(value, "upstream")
	if kind == gateway.Consumers {
		delete(value, "plugins")
	}
	return value
}
