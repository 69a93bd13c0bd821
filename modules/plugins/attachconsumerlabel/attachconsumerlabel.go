// SPDX-License-Identifier: Apache-2.0

// Package attachconsumerlabel is APISIX's attach-consumer-label plugin: it tells the node labels of the consumer.
package attachconsumerlabel

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:     "attach-consumer-label",
		Priority: 2399,
		Version:  0.1,
		Schema:   configSchema,
		New:      compile,
	})
}

// labels is one compiled config: the fields that it sets, in the order of their names. It is immutable.
type labels []label

type label struct{ field, name string }

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Headers map[string]string `json:"headers"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("attach-consumer-label: %w", err)
	}
	l := make(labels, 0, len(c.Headers))
	for _, field := range slices.Sorted(maps.Keys(c.Headers)) {
		if !httpguts.ValidHeaderFieldName(field) || gateway.EqualFold(field, "Host") || gateway.EqualFold(field, "Content-Length") {
			return nil, fmt.Errorf("property \"headers\" validation failed: %q is not the name of a field that can be set", field)
		}
		l = append(l, label{field, strings.TrimPrefix(c.Headers[field], "$")})
	}
	return l, nil
}

// BeforeProxy implements gateway.BeforeProxy. What the client has sent in these fields never gets to the node: neither
// when the consumer lacks the label nor when there is no consumer, nor under a name that a node may take for the same.
func (l labels) BeforeProxy(x *gateway.Exchange) {
	h := &x.Request.Header
	for _, label := range l {
		h.DelAliases(label.field)
		if x.Consumer == nil {
			continue
		}
		if value := x.Consumer.Labels[label.name]; value != "" && httpguts.ValidHeaderFieldValue(value) {
			h.Add(label.field, value)
		}
	}
}

var _ gateway.BeforeProxy = labels(nil)
