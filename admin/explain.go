// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/secret"
)

// explain adds to the refusal of an object all that is wrong with it by its schemas, where APISIX tells the first alone.
func (h *Handler) explain(err error, o gateway.Object) error {
	value, undecoded := schema.Decode(o.Value)
	if undecoded != nil {
		return err
	}
	return h.withErrors(err, h.withoutSecrets(o, h.problems(o, value)))
}

func (h *Handler) withErrors(err error, problems []schema.Problem) error {
	if len(problems) == 0 {
		return err
	}
	var errors bytes.Buffer
	encoder := json.NewEncoder(&errors)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(problems) != nil {
		return err
	}
	explained := *h.problem(err)
	explained.errors = bytes.TrimSpace(errors.Bytes())
	return &explained
}

func (h *Handler) problems(o gateway.Object, value any) []schema.Problem {
	object, _ := value.(map[string]any)
	if o.Kind == gateway.PluginMetadata {
		return h.metadataProblems(o.ID, object)
	}
	problems := schema.Problems(o.Kind, value)
	plugins, _ := object["plugins"].(map[string]any)
	usable := h.pluginsOf(o.Kind)
	inConsumer := o.Kind == gateway.Consumers || o.Kind == gateway.Credentials
	for _, name := range slices.Sorted(maps.Keys(plugins)) {
		at := "/plugins/" + strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
		config, isObject := plugins[name].(map[string]any)
		plugin := usable[name]
		if plugin == nil {
			problems = append(problems, schema.Problem{
				Pointer: at, Message: "unknown plugin [" + name + "]", Nearest: schema.Nearest(name, maps.Keys(usable)),
			})
			continue
		}
		meta, _ := config["_meta"].(map[string]any)
		if !isObject || meta["disable"] == true {
			continue
		}
		problems = append(problems, schema.ForPlugin(plugin).For(inConsumer && plugin.Auth).Problems(at, config)...)
	}
	return problems
}

func (h *Handler) metadataProblems(name string, object map[string]any) []schema.Problem {
	plugin := h.plugins[name]
	if plugin == nil {
		return []schema.Problem{{Message: "invalid plugin name", Value: name, Nearest: schema.Nearest(name, maps.Keys(h.plugins))}}
	}
	rules := schema.ForPlugin(plugin).Metadata
	if rules == nil {
		return nil
	}
	config := maps.Clone(object)
	delete(config, "id")
	return rules.Problems("", config)
}

// withoutSecrets leaves out the values of fields that are stored encrypted: answers end up in logs.
func (h *Handler) withoutSecrets(o gateway.Object, problems []schema.Problem) []schema.Problem {
	paths := append(h.pluginSecrets(o), privateKeys[o.Kind]...)
	for i := range problems {
		at := secret.Path(strings.Split(problems[i].Pointer, "/")[1:])
		at = slices.DeleteFunc(at, func(name string) bool { _, err := strconv.Atoi(name); return err == nil })
		if slices.ContainsFunc(paths, func(p secret.Path) bool { return len(at) >= len(p) && slices.Equal(at[:len(p)], p) }) {
			problems[i].Value = nil
		}
	}
	return problems
}
