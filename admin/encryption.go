// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/secret"
)

// seal returns a value with its secrets encrypted, as it is stored.
func (h *Handler) seal(o gateway.Object) json.RawMessage {
	value := h.keyring.EncryptFields(o.Value, h.pluginSecrets(o)...)
	return h.keyring.EncryptPEM(value, privateKeys[o.Kind]...)
}

// unseal undoes seal.
func (h *Handler) unseal(o gateway.Object) json.RawMessage {
	value := h.keyring.DecryptFields(o.Value, h.pluginSecrets(o)...)
	return h.keyring.DecryptFields(value, privateKeys[o.Kind]...)
}

// privateKeys are where kinds have private keys in PEM. Those are never shown, whoever asks.
var privateKeys = map[gateway.Kind][]secret.Path{
	gateway.SSLs:         {{"key"}, {"keys"}},
	gateway.Upstreams:    {{"tls", "client_key"}},
	gateway.Routes:       {{"upstream", "tls", "client_key"}},
	gateway.Services:     {{"upstream", "tls", "client_key"}},
	gateway.StreamRoutes: {{"upstream", "tls", "client_key"}},
}

// pluginSecrets returns where the object's plugin configs have fields that their schemas say are encrypted.
func (h *Handler) pluginSecrets(o gateway.Object) (paths []secret.Path) {
	if h.keyring == nil {
		return nil
	}
	if o.Kind == gateway.PluginMetadata {
		if plugin := h.plugins[o.ID]; plugin != nil && schema.ForPlugin(plugin).Metadata != nil {
			return secret.Paths(schema.ForPlugin(plugin).Metadata.EncryptFields())
		}
		return nil
	}
	inConsumer := o.Kind == gateway.Consumers || o.Kind == gateway.Credentials
	for f := range eachField(lookup(o.Value, "plugins")) {
		name := unquote(f.key)
		plugin := h.pluginsOf(o.Kind)[name]
		if plugin == nil {
			continue
		}
		rules := schema.ForPlugin(plugin).For(inConsumer && plugin.Auth)
		for _, path := range secret.Paths(rules.EncryptFields()) {
			paths = append(paths, append(secret.Path{"plugins", name}, path...))
		}
	}
	return paths
}

// shown returns the value of an object as clients read it: plugins' secrets as they were written, private keys encrypted
// or not at all.
func (h *Handler) shown(r *resource, o gateway.Object) json.RawMessage {
	value := h.keyring.DecryptFields(o.Value, h.pluginSecrets(o)...)
	return r.withoutHidden(h.keyring.EncryptPEM(value, privateKeys[o.Kind]...))
}

// echoed returns the value of an object as the answer to its writer has it: as it is stored. Where nothing is encrypted,
// what nobody may read is left out.
func (h *Handler) echoed(r *resource, value json.RawMessage) json.RawMessage {
	if h.keyring != nil {
		return value
	}
	return r.withoutHidden(value)
}

func (r *resource) withoutHidden(value json.RawMessage) json.RawMessage {
	if len(r.hidden) == 0 {
		return value
	}
	fs := parseFields(value)
	for _, name := range r.hidden {
		fs.remove(name)
	}
	return fs.text()
}
