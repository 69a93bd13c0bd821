// SPDX-License-Identifier: Apache-2.0

// Package acl is APISIX's acl plugin: it lets requests through by the labels of their consumer, or of a user whom an
// identity provider knows.
package acl

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:     "acl",
		Priority: 2410,
		Version:  0.1,
		Schema:   configSchema,
		New:      compile,
	})
}

var unauthenticated = auth.Message("Missing authentication.")

// acl is one compiled config. It is immutable.
type acl struct {
	// allow and deny map labels to values; nil is no such list.
	allow, deny map[string][]string
	status      int
	rejected    []byte

	// Where a user without a consumer has their label, and what it is called in the lists.
	path  path
	key   string
	parse func(value any) []string
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		AllowLabels  map[string][]string `json:"allow_labels"`
		DenyLabels   map[string][]string `json:"deny_labels"`
		RejectedCode int                 `json:"rejected_code"`
		RejectedMsg  *string             `json:"rejected_msg"`
		Field        string              `json:"external_user_label_field"`
		Key          string              `json:"external_user_label_field_key"`
		Parser       string              `json:"external_user_label_field_parser"`
		Separator    string              `json:"external_user_label_field_separator"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("acl: %w", err)
	}
	if err := reply.CheckStatus("rejected_code", c.RejectedCode); err != nil {
		return nil, err
	}
	message := "The consumer is forbidden."
	if c.RejectedMsg != nil {
		message = *c.RejectedMsg
	}
	a := &acl{
		allow: c.AllowLabels, deny: c.DenyLabels, status: c.RejectedCode, rejected: auth.Message(message), key: c.Key,
	}
	if a.key == "" {
		a.key = c.Field
	}
	var err error
	if a.path, err = parsePath(c.Field); err != nil {
		return nil, fmt.Errorf("property \"external_user_label_field\" validation failed: %q: %w", c.Field, err)
	}
	if a.parse, err = parser(c.Parser, c.Separator); err != nil {
		return nil, fmt.Errorf("property \"external_user_label_field_separator\" validation failed: %w", err)
	}
	return a, nil
}

// Access implements gateway.Accessor.
func (a *acl) Access(x *gateway.Exchange) gateway.Verdict {
	allowed := false
	if x.Consumer != nil {
		labels := x.Consumer.Labels
		allowed = !hasAny(a.deny, labels) && (a.allow == nil || hasAny(a.allow, labels))
	} else {
		user, ok := auth.ExternalUser(x)
		if !ok {
			return x.Exit(401, unauthenticated)
		}
		allowed = a.allowsUser(user)
	}
	if !allowed {
		return x.Exit(a.status, a.rejected)
	}
	return gateway.Continue
}

// hasAny reports whether one of the labels has one of the values that list has for it.
func hasAny(list map[string][]string, labels map[string]string) bool {
	for key, wanted := range list {
		label, ok := labels[key]
		if !ok {
			continue
		}
		for _, value := range wanted {
			if labelHas(label, value) {
				return true
			}
		}
	}
	return false
}

// labelHas reports whether value is the label, or one of those that it lists: as a JSON array, or with commas between
// them.
func labelHas(label, value string) bool {
	switch {
	case strings.HasPrefix(label, "["):
		var values []any
		return json.Unmarshal([]byte(label), &values) == nil && contains(texts(values), value)
	case strings.IndexByte(label, ',') < 0:
		return label == value
	}
	for item := range strings.SplitSeq(label, ",") {
		if strings.Trim(item, " \t\r\n\f\v") == value {
			return true
		}
	}
	return false
}

// allowsUser is for a user without a consumer: JSON, whatever an identity provider has told.
func (a *acl) allowsUser(user string) bool {
	var facts any
	if json.Unmarshal([]byte(user), &facts) != nil {
		return false
	}
	var values []string
	if found, ok := a.path.first(facts); ok {
		values = a.parse(found)
	}
	matches := func(list map[string][]string) bool {
		for _, wanted := range list[a.key] {
			if contains(values, wanted) {
				return true
			}
		}
		return false
	}
	return !matches(a.deny) && (a.allow == nil || matches(a.allow))
}

func contains(values []string, value string) bool {
	for _, v := range values {
		if v == value {
			return true
		}
	}
	return false
}

// texts returns those of the values that are text.
func texts(values []any) []string {
	out := make([]string, 0, len(values))
	for _, value := range values {
		if text, ok := value.(string); ok {
			out = append(out, text)
		}
	}
	return out
}

// parser returns what reads the label of a user in one of its forms. What has another form has no values.
func parser(form, separator string) (func(value any) []string, error) {
	switch form {
	case "table":
		return table, nil
	case "json":
		return array, nil
	case "segmented_text":
		between, err := regexp.Compile(`\s*(?:` + separator + `)\s*`)
		if err != nil {
			return nil, err
		}
		return func(value any) []string {
			text, ok := value.(string)
			if !ok {
				return nil
			}
			return between.Split(text, -1)
		}, nil
	}
	comma := regexp.MustCompile(`\s*,\s*`)
	return func(value any) []string {
		text, ok := value.(string)
		switch {
		case !ok:
			return table(value)
		case strings.HasPrefix(text, "["):
			return array(value)
		}
		return comma.Split(text, -1)
	}, nil
}

func table(value any) []string {
	values, _ := value.([]any)
	return texts(values)
}

func array(value any) []string {
	text, _ := value.(string)
	var values []any
	if json.Unmarshal([]byte(text), &values) != nil {
		return nil
	}
	return texts(values)
}

var _ gateway.Accessor = (*acl)(nil)
