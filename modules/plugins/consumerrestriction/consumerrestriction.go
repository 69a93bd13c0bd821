// SPDX-License-Identifier: Apache-2.0

// Package consumerrestriction is APISIX's consumer-restriction plugin: it lets a request pass by its consumer, consumer
// group, service or route.
package consumerrestriction

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:     "consumer-restriction",
		Priority: 2400,
		Version:  0.1,
		Schema:   configSchema,
		New:      compile,
	})
}

// restriction is one compiled config. It is immutable.
type restriction struct {
	// of returns what is compared with the lists; empty says that the request has none.
	of                   func(x *gateway.Exchange) string
	whitelist, blacklist set
	// methods maps those that may not use every method to those they may use.
	methods           map[string]set
	status            int
	missing, rejected []byte
}

type set map[string]struct{}

func newSet(values []string) set {
	if len(values) == 0 {
		return nil
	}
	s := make(set, len(values))
	for _, v := range values {
		s[v] = struct{}{}
	}
	return s
}

func (s set) has(value string) bool {
	_, ok := s[value]
	return ok
}

var types = map[string]func(x *gateway.Exchange) string{
	"consumer_name": func(x *gateway.Exchange) string {
		if x.Consumer == nil {
			return ""
		}
		return x.Consumer.Name
	},
	"consumer_group_id": func(x *gateway.Exchange) string {
		if x.Consumer == nil {
			return ""
		}
		return x.Consumer.GroupID
	},
	"service_id": func(x *gateway.Exchange) string {
		if x.Route == nil {
			return ""
		}
		return x.Route.ServiceID
	},
	"route_id": func(x *gateway.Exchange) string {
		if x.Route == nil {
			return ""
		}
		return x.Route.ID
	},
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Type             string   `json:"type"`
		Whitelist        []string `json:"whitelist"`
		Blacklist        []string `json:"blacklist"`
		AllowedByMethods []struct {
			User    *string  `json:"user"`
			Methods []string `json:"methods"`
		} `json:"allowed_by_methods"`
		RejectedCode int     `json:"rejected_code"`
		RejectedMsg  *string `json:"rejected_msg"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("consumer-restriction: %w", err)
	}
	if err := reply.CheckStatus("rejected_code", c.RejectedCode); err != nil {
		return nil, err
	}
	message := "The " + c.Type + " is forbidden."
	if c.RejectedMsg != nil {
		message = *c.RejectedMsg
	}
	r := &restriction{
		of: types[c.Type], whitelist: newSet(c.Whitelist), blacklist: newSet(c.Blacklist), status: c.RejectedCode,
		missing:  reply.JSON("message", "The request is rejected, please check the "+c.Type+" for this request"),
		rejected: reply.JSON("message", message),
	}
	for _, allowed := range c.AllowedByMethods {
		if allowed.User == nil {
			continue
		}
		if r.methods == nil {
			r.methods = make(map[string]set)
		}
		// As in APISIX the first that names somebody counts.
		if _, ok := r.methods[*allowed.User]; !ok {
			r.methods[*allowed.User] = newSet(allowed.Methods)
		}
	}
	return r, nil
}

// Access implements gateway.Accessor.
func (r *restriction) Access(x *gateway.Exchange) gateway.Verdict {
	value := r.of(x)
	if value == "" {
		return x.Exit(401, r.missing)
	}
	if !r.allows(value, x.Request.Method) {
		return x.Exit(r.status, r.rejected)
	}
	return gateway.Continue
}

func (r *restriction) allows(value, method string) bool {
	if r.blacklist.has(value) {
		return false
	}
	if r.whitelist != nil {
		return r.whitelist.has(value)
	}
	methods, limited := r.methods[value]
	return !limited || methods.has(method)
}

var _ gateway.Accessor = (*restriction)(nil)
