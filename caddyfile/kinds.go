// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	andocaddy "github.com/andogate/ando/modules/caddy"
	"github.com/andogate/ando/modules/gateway"
)

var routeFields = fields{
	"id":               textField("id"),
	"name":             textField("name"),
	"desc":             textField("desc"),
	"label":            labelField,
	"methods":          choicesField("methods", "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PURGE"),
	"hosts":            listField("hosts"),
	"remote_addrs":     listField("remote_addrs"),
	"vars":             jsonField("vars"),
	"expression":       textField("expression"),
	"priority":         integerField("priority"),
	"status":           integerField("status"),
	"websocket":        flagField("enable_websocket"),
	"timeout":          timeoutField,
	"plugin":           pluginField,
	"plugin_config_id": textField("plugin_config_id"),
	"upstream":         upstreamField,
	"upstream_id":      textField("upstream_id"),
	"service_id":       textField("service_id"),
}

var serviceFields = fields{
	"name":        textField("name"),
	"desc":        textField("desc"),
	"label":       labelField,
	"hosts":       listField("hosts"),
	"websocket":   flagField("enable_websocket"),
	"plugin":      pluginField,
	"upstream":    upstreamField,
	"upstream_id": textField("upstream_id"),
}

var upstreamFields = fields{
	"name":           textField("name"),
	"desc":           textField("desc"),
	"label":          labelField,
	"node":           nodeField,
	"type":           choiceField("type", algorithms...),
	"scheme":         choiceField("scheme", "http", "https", "grpc", "grpcs"),
	"pass_host":      choiceField("pass_host", "pass", "node", "rewrite"),
	"upstream_host":  textField("upstream_host"),
	"hash_on":        choiceField("hash_on", "vars", "header", "cookie", "consumer", "vars_combinations"),
	"key":            textField("key"),
	"retries":        integerField("retries"),
	"retry_timeout":  secondsField("retry_timeout"),
	"timeout":        timeoutField,
	"keepalive_pool": valueField("keepalive_pool"),
	"tls":            valueField("tls"),
	"checks":         jsonField("checks"),
	"service_name":   textField("service_name"),
	"discovery_type": textField("discovery_type"),
	"discovery_args": valueField("discovery_args"),
}

var consumerFields = fields{
	"desc":     textField("desc"),
	"label":    labelField,
	"group_id": textField("group_id"),
	"plugin":   consumerPluginField,
}

// sharedPluginFields are those of consumer groups and plugin configs.
var sharedPluginFields = fields{
	"name":   textField("name"),
	"desc":   textField("desc"),
	"label":  labelField,
	"plugin": pluginField,
}

// named are the objects whose block begins with their id.
var named = map[string]struct {
	kind   gateway.Kind
	fields fields
}{
	"service":        {gateway.Services, serviceFields},
	"upstream":       {gateway.Upstreams, upstreamFields},
	"consumer":       {gateway.Consumers, consumerFields},
	"consumer_group": {gateway.ConsumerGroups, sharedPluginFields},
	"plugin_config":  {gateway.PluginConfigs, sharedPluginFields},
	"global_rule":    {gateway.GlobalRules, fields{"plugin": pluginField}},
}

// parseNamed reads an object whose word, the current token, is followed by its id and a block.
func parseNamed(d *caddyfile.Dispenser) (andocaddy.Declared, error) {
	start := d.Token()
	spec := named[start.Text]
	id, err := one(d)
	if err != nil {
		return andocaddy.Declared{}, d.Errf("%s takes an id and a block", start.Text)
	}
	o, where := object{}, start.Text+" "+id.Text
	if err := spec.fields.read(d, where, o); err != nil {
		return andocaddy.Declared{}, err
	}
	return declare(start, where, spec.kind, id.Text, o)
}

// parseMetadata reads `plugin_metadata NAME` with its fields.
func parseMetadata(d *caddyfile.Dispenser) (andocaddy.Declared, error) {
	start := d.Token()
	if !d.NextArg() {
		return andocaddy.Declared{}, d.Errf("plugin_metadata takes the name of a plugin")
	}
	name := d.Val()
	v, err := config(d)
	if err != nil {
		return andocaddy.Declared{}, err
	}
	o, ok := v.(map[string]any)
	if !ok {
		return andocaddy.Declared{}, d.Errf("plugin_metadata %s takes a block of fields", name)
	}
	return declare(start, "plugin_metadata "+name, gateway.PluginMetadata, name, o)
}

// algorithms are the ways to balance.
var algorithms = []string{"roundrobin", "chash", "least_conn", "ewma"}

// upstreamField reads `upstream [TYPE]` with its block.
func upstreamField(d *caddyfile.Dispenser, o object) error {
	inner := object{}
	if d.NextArg() {
		if err := choice(d, "upstream", d.Val(), algorithms); err != nil {
			return err
		}
		inner["type"] = d.Val()
	}
	if d.NextArg() {
		return d.Errf("upstream takes at most the name of a balancing algorithm and a block; its nodes are given with node")
	}
	if err := upstreamFields.read(d, "upstream", inner); err != nil {
		return err
	}
	return o.set(d, "upstream", inner)
}

// nodeField reads `node ADDRESS [weight=N] [priority=N]`.
func nodeField(d *caddyfile.Dispenser, o object) error {
	if !d.NextArg() {
		return d.Errf("node takes an address")
	}
	node, err := andocaddy.ParseNode(d.Val())
	if err != nil {
		return d.WrapErr(err)
	}
	for d.NextArg() {
		if err := node.Option(d.Val()); err != nil {
			return d.WrapErr(err)
		}
	}
	nodes, _ := o["nodes"].([]andocaddy.Node)
	o["nodes"] = append(nodes, node)
	return nil
}

// timeoutField reads `timeout ALL` or a block with connect, send and read; what the block leaves out is 60 seconds, as
// it is without any.
func timeoutField(d *caddyfile.Dispenser, o object) error {
	const standard = 60
	phases := object{}
	if d.NextArg() {
		all, err := seconds(d)
		if err != nil {
			return err
		}
		phases = object{"connect": all, "send": all, "read": all}
		if d.NextArg() {
			return d.Errf("timeout takes one duration, or a block with connect, send and read")
		}
	}
	known := fields{"connect": secondsField("connect"), "send": secondsField("send"), "read": secondsField("read")}
	if err := known.read(d, "timeout", phases); err != nil {
		return err
	}
	if len(phases) == 0 {
		return d.Errf("timeout takes one duration, or a block with connect, send and read")
	}
	for phase := range known {
		if _, given := phases[phase]; !given {
			phases[phase] = standard
		}
	}
	return o.set(d, "timeout", phases)
}

func secondsField(name string) field {
	return func(d *caddyfile.Dispenser, o object) error {
		if !d.NextArg() {
			return d.Errf("%s takes a duration", name)
		}
		v, err := seconds(d)
		if err != nil {
			return err
		}
		return o.set(d, name, v)
	}
}

// seconds reads the current token as a duration, with Caddy's units or as a number of seconds.
func seconds(d *caddyfile.Dispenser) (float64, error) {
	if n, err := strconv.ParseFloat(d.Val(), 64); err == nil {
		return n, nil
	}
	duration, err := caddy.ParseDuration(d.Val())
	if err != nil {
		return 0, d.Errf("%q is no duration: 500ms, 5s, or a number of seconds", d.Val())
	}
	return float64(duration) / float64(time.Second), nil
}
