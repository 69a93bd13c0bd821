// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// item is an object as APISIX's workers hold it.
type item struct {
	Key           string   `json:"key"`
	Value         any      `json:"value"`
	CreatedIndex  uint64   `json:"createdIndex"`
	ModifiedIndex uint64   `json:"modifiedIndex"`
	HasDomain     bool     `json:"has_domain"`
	UpdateCount   int      `json:"update_count"`
	CleanHandlers struct{} `json:"clean_handlers"`
}

// newItem shows an object with its defaults, and without private keys: nobody was asked for a key.
func newItem(o gateway.Object) (item, error) {
	value, err := schema.Decode(o.Value)
	if err != nil {
		return item{}, err
	}
	if rules := schema.ForKind(o.Kind); rules != nil {
		value = rules.Fill(value)
	}
	upstream := upstreamOf(o.Kind, value)
	if tls, ok := upstream["tls"].(map[string]any); ok {
		delete(tls, "client_key")
	}
	return item{
		Key: o.Key(), Value: value, CreatedIndex: o.Created, ModifiedIndex: o.Modified, HasDomain: hasDomain(upstream["nodes"]),
	}, nil
}

// upstreamOf returns the upstream that an object is, or that is in it; nil for neither.
func upstreamOf(kind gateway.Kind, value any) map[string]any {
	object, _ := value.(map[string]any)
	if kind == gateway.Upstreams {
		return object
	}
	upstream, _ := object["upstream"].(map[string]any)
	return upstream
}

// hasDomain reports whether a node is given by name.
func hasDomain(nodes any) bool {
	switch nodes := nodes.(type) {
	case map[string]any:
		for address := range nodes {
			if isName(address) {
				return true
			}
		}
	case []any:
		for _, node := range nodes {
			object, _ := node.(map[string]any)
			if host, _ := object["host"].(string); isName(host) {
				return true
			}
		}
	}
	return false
}

func isName(address string) bool {
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	_, err := netip.ParseAddr(strings.Trim(address, "[]"))
	return err != nil
}

func (h *Handler) list(kind gateway.Kind) func(*http.Request) (any, error) {
	return func(*http.Request) (any, error) {
		items := []item{}
		for o := range h.cfg.Gateway.Table().Objects(kind) {
			shown, err := newItem(o)
			if err != nil {
				return nil, err
			}
			items = append(items, shown)
		}
		return items, nil
	}
}

func (h *Handler) one(kind gateway.Kind, noun string) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		o, ok := h.cfg.Gateway.Table().Object(kind, r.PathValue("id"))
		if !ok {
			return nil, notFound("%s[%s] not found", noun, r.PathValue("id"))
		}
		return newItem(o)
	}
}

func (h *Handler) metadatas(*http.Request) (any, error) {
	values := []json.RawMessage{}
	for o := range h.cfg.Gateway.Table().Objects(gateway.PluginMetadata) {
		values = append(values, o.Value)
	}
	return values, nil
}

func (h *Handler) metadata(r *http.Request) (any, error) {
	o, ok := h.cfg.Gateway.Table().Object(gateway.PluginMetadata, r.PathValue("name"))
	if !ok {
		return nil, notFound("plugin metadata[%s] not found", r.PathValue("name"))
	}
	return o.Value, nil
}
