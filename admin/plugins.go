// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// descriptions serve the resources that can only be read. rest is the path behind the first segment.
var descriptions = map[string]func(h *Handler, w http.ResponseWriter, rest []string, query url.Values) error{
	"plugins": (*Handler).describePlugin,
	"schema":  (*Handler).describeKind,
}

const (
	subsystemHTTP   = "http"
	subsystemStream = "stream"
)

// subsystem returns the half of APISIX's plugins that is asked for. No plugin is for streams yet.
func subsystem(query url.Values) (name string, known bool) {
	name = query.Get("subsystem")
	if name == "" {
		name = subsystemHTTP
	}
	return name, name == subsystemHTTP || name == subsystemStream
}

// listPlugins answers with the names of all plugins in the order in which they run.
func (h *Handler) listPlugins(w http.ResponseWriter, r *http.Request) error {
	name, known := subsystem(r.URL.Query())
	if !known {
		return &problem{status: http.StatusBadRequest, text: "invalid subsystem passed"}
	}
	names := []string{}
	if name == subsystemHTTP {
		for _, plugin := range h.plugins.Sorted() {
			names = append(names, plugin.Name)
		}
	}
	return writeValue(w, names)
}

// reloadPlugins has nothing to do: the plugins are what the binary was built with.
func (h *Handler) reloadPlugins(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPut {
		return refuse(http.StatusMethodNotAllowed,
			fmt.Sprintf("please use PUT method to reload the plugins, %s method is not allowed.", r.Method))
	}
	writeJSON(w, http.StatusOK, []byte("done"))
	return nil
}

// describePlugin answers with the schema of one plugin, or with all there is to know about each of them.
func (h *Handler) describePlugin(w http.ResponseWriter, rest []string, query url.Values) error {
	half, known := subsystem(query)
	if !known {
		return badRequest("unsupported subsystem: " + half)
	}
	if len(rest) == 0 || rest[0] == "" {
		if query.Get("all") != "true" {
			return refuse(http.StatusNotFound, "plugin not found in subsystem "+half)
		}
		return writeValue(w, h.allPlugins(half))
	}
	plugin := h.plugins[rest[0]]
	if plugin == nil || half != subsystemHTTP {
		return refuse(http.StatusNotFound, "plugin not found in subsystem "+half)
	}
	schemas := schema.ForPlugin(plugin)
	chosen := schemas.Config
	if query.Get("schema_type") == "consumer" {
		chosen = schemas.Consumer
	}
	if chosen == nil {
		return badRequest("not found schema")
	}
	return writeValue(w, chosen.Raw())
}

// pluginDescription is what `plugins?all=true` says about a plugin.
type pluginDescription struct {
	Version        float64         `json:"version"`
	Priority       int             `json:"priority"`
	Schema         json.RawMessage `json:"schema"`
	ConsumerSchema json.RawMessage `json:"consumer_schema,omitempty"`
	MetadataSchema json.RawMessage `json:"metadata_schema,omitempty"`
	Type           string          `json:"type,omitempty"`
	Scope          string          `json:"scope,omitempty"`
}

func (h *Handler) allPlugins(half string) map[string]pluginDescription {
	all := make(map[string]pluginDescription, len(h.plugins))
	if half != subsystemHTTP {
		return all
	}
	for name, plugin := range h.plugins {
		all[name] = describe(plugin)
	}
	return all
}

func describe(plugin *gateway.Plugin) pluginDescription {
	schemas := schema.ForPlugin(plugin)
	d := pluginDescription{Version: plugin.Version, Priority: plugin.Priority, Schema: schemas.Config.Raw()}
	if schemas.Consumer != nil {
		d.ConsumerSchema = schemas.Consumer.Raw()
	}
	if schemas.Metadata != nil {
		d.MetadataSchema = schemas.Metadata.Raw()
	}
	if plugin.Auth {
		d.Type = "auth"
	}
	if plugin.GlobalScope {
		d.Scope = "global"
	}
	return d
}

// describeKind answers with the schema of a kind of objects, or of a plugin.
func (h *Handler) describeKind(w http.ResponseWriter, rest []string, query url.Values) error {
	name := ""
	if len(rest) > 0 {
		name = rest[0]
	}
	if name == "plugins" && len(rest) > 1 {
		return h.describePlugin(w, rest[1:], query)
	}
	found, ok := schema.ByName(name)
	if !ok {
		return badRequest("not found schema: " + name)
	}
	return writeValue(w, found.Raw())
}

// writeValue answers with a value as compact JSON.
func writeValue(w http.ResponseWriter, value any) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	writeJSON(w, http.StatusOK, body.Bytes())
	return nil
}
