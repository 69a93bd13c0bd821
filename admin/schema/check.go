// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"net/netip"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// Check checks everything about one object that needs neither other objects nor plugins: what is looked at before the
// schema, the schema, and the rules that no schema can express. The value is what [Decode] gives, complete with its id
// where the kind requires one; it is not changed. The id of a secret names its manager: "vault/1". Plugin metadata is
// only for the plugin to judge, see [ForPlugin].
//
// The error is a [gateway.Refusal] with APISIX's text.
func Check(kind gateway.Kind, value any) error {
	switch kind {
	case gateway.PluginMetadata:
		return nil
	case gateway.Secrets:
		manager, _, ok := strings.Cut(IDText(value), "/")
		if !ok {
			return refuse("invalid secret id: %s", IDText(value))
		}
		return CheckSecret(manager, value)
	}
	schema := ForKind(kind)
	if schema == nil {
		return refuse("Unsupported resource type: %s", kind)
	}
	object, _ := value.(map[string]any)
	if kind == gateway.Routes {
		if err := checkPairs(object); err != nil {
			return err
		}
	}
	if err := checkSchema(schema, value); err != nil {
		return err
	}
	return checkRules(kind, object)
}

// CheckSecret is Check for the config of a secret manager.
func CheckSecret(manager string, value any) error {
	schema, ok := ForSecret(manager)
	if !ok {
		return refuse("invalid secret manager: %s", manager)
	}
	return checkSchema(schema, value)
}

func checkSchema(schema *Schema, value any) error {
	if err := schema.Validate(value); err != nil {
		return refuse("invalid configuration: %s", err)
	}
	return nil
}

// checkRules checks what is left once the schema is satisfied, so types need not be looked at again.
func checkRules(kind gateway.Kind, object map[string]any) error {
	switch kind {
	case gateway.Upstreams:
		return checkUpstream(object)
	case gateway.Routes, gateway.Services:
		return checkInlineUpstream(object)
	case gateway.StreamRoutes:
		if err := checkRemoteAddr(object); err != nil {
			return err
		}
		return checkInlineUpstream(object)
	case gateway.SSLs:
		return checkSSL(object)
	case gateway.Protos:
		return checkProto(object)
	}
	return nil
}

// checkPairs refuses both forms of one condition.
func checkPairs(route map[string]any) error {
	for _, name := range []string{"host", "remote_addr"} {
		_, one := route[name]
		_, many := route[name+"s"]
		if one && many {
			return refuse("only one of %s or %ss is allowed", name, name)
		}
	}
	return nil
}

// checkRemoteAddr finds what the schema's pattern lets through: "::/999".
func checkRemoteAddr(route map[string]any) error {
	addr, ok := route["remote_addr"].(string)
	if !ok || isReference(addr) {
		return nil
	}
	if _, err := netip.ParsePrefix(addr); err == nil {
		return nil
	}
	if _, err := netip.ParseAddr(addr); err == nil {
		return nil
	}
	return refuse("invalid remote_addr: %s", addr)
}

func checkInlineUpstream(object map[string]any) error {
	upstream, ok := object["upstream"].(map[string]any)
	if !ok {
		return nil
	}
	return checkUpstream(upstream)
}
