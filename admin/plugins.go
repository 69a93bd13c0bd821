// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

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

// pluginsOf are the plugins that objects of a kind may use.
func (h *Handler) pluginsOf(kind gateway.Kind) gateway.Plugins {
	if kind == gateway.StreamRoutes {
		return h.streamPlugins
	}
	return h.plugins
}

// built are the plugins of one half that are built.
func (h *Handler) built(half string) gateway.Plugins {
	if half == subsystemStream {
		return h.streamPlugins
	}
	return h.plugins
}

// subsystem returns the half of APISIX's plugins that is asked for.
func subsystem(query url.Values) (name string, known bool) {
	name = query.Get("subsystem")
	if name == "" {
		name = subsystemHTTP
	}
	return name, name == subsystemHTTP || name == subsystemStream
}

// listPlugins answers with the names of the plugins in the order in which they run. With `all=true` those are among them
// that are not built.
func (h *Handler) listPlugins(w http.ResponseWriter, r *http.Request) error {
	name, known := subsystem(r.URL.Query())
	if !known {
		return &problem{status: http.StatusBadRequest, text: "invalid subsystem passed"}
	}
	described := h.describeAll(name)
	if r.URL.Query().Get("all") != "true" {
		maps.DeleteFunc(described, func(_ string, d schema.Description) bool { return d.Built != nil })
	}
	names := slices.SortedFunc(maps.Keys(described), func(a, b string) int {
		return cmp.Or(cmp.Compare(described[b].Priority, described[a].Priority), strings.Compare(a, b))
	})
	if names == nil {
		names = []string{}
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
		return writeValue(w, h.describeAll(half))
	}
	d, ok := h.describeOne(half, rest[0])
	if !ok {
		return refuse(http.StatusNotFound, "plugin not found in subsystem "+half)
	}
	chosen := d.Schema
	if query.Get("schema_type") == "consumer" {
		chosen = d.ConsumerSchema
	}
	if chosen == nil {
		return badRequest("not found schema")
	}
	if d.Built != nil {
		fs := parseFields(chosen)
		fs.set("built", []byte("false"))
		chosen = fs.text()
	}
	return writeValue(w, chosen)
}

// describeAll describes the plugins that are built, and the rest of APISIX's.
func (h *Handler) describeAll(half string) map[string]schema.Description {
	all := make(map[string]schema.Description)
	for name := range schema.Catalog(half == subsystemStream) {
		all[name], _ = h.describeOne(half, name)
	}
	for name, plugin := range h.built(half) {
		all[name] = schema.Describe(plugin)
	}
	return all
}

// describeOne describes a plugin, by what it says itself when it is built.
func (h *Handler) describeOne(half, name string) (d schema.Description, ok bool) {
	if plugin := h.built(half)[name]; plugin != nil {
		return schema.Describe(plugin), true
	}
	known := schema.Catalog(half == subsystemStream)[name]
	if known == nil {
		return d, false
	}
	return known.Unbuilt(), true
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
