// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"fmt"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// refuse makes the error for what a client should not have sent.
func refuse(format string, args ...any) error {
	return &gateway.Refusal{Status: 400, Message: fmt.Sprintf(format, args...)}
}

// IDText returns the id of an object as the text that its key has, or "" when it has none. The value is what [Decode]
// gives.
func IDText(value any) string {
	object, _ := value.(map[string]any)
	switch id := object["id"].(type) {
	case nil:
		return ""
	case string:
		return id
	default:
		if f, ok := numberOf(id); ok {
			return luaNumber(f)
		}
		return luaType(id)
	}
}

// CheckID returns the id of an object that is written with PUT, or with POST when post is set: then it is "", since
// POST chooses the id itself. pathID is the id in the request's path, or "". How an id may be spelled is for [Check] to
// say once it is in the value. Consumers are known by their username: an object without one gets "" here, and the
// reason from Check.
func CheckID(kind gateway.Kind, pathID string, value any, post bool) (string, error) {
	if kind == gateway.Consumers {
		return checkUsername(pathID, value)
	}
	id := IDText(value)
	switch {
	case post && (pathID != "" || id != ""):
		return "", refuse("wrong %s id, do not need it", noun(kind))
	case post:
		return "", nil
	case pathID == "" && id == "":
		return "", refuse("missing %s id", noun(kind))
	case pathID == "":
		return id, nil
	case id != "" && id != pathID:
		return "", refuse("wrong %s id", noun(kind))
	}
	return pathID, nil
}

func checkUsername(pathID string, value any) (string, error) {
	object, _ := value.(map[string]any)
	username, ok := object["username"].(string)
	if ok && pathID != "" && username != pathID {
		return "", refuse("wrong username")
	}
	return username, nil
}

// noun returns what APISIX calls an object of the kind in its messages: "missing plugin config id".
func noun(kind gateway.Kind) string {
	switch kind {
	case gateway.PluginMetadata:
		return string(kind)
	case gateway.Secrets:
		return "secret"
	}
	return strings.ReplaceAll(namesByKind[kind], "_", " ")
}

// CheckForbidden refuses the times that only the gateway sets. PATCH may set them, so Check does not include it.
func CheckForbidden(value any) error {
	object, _ := value.(map[string]any)
	var found strings.Builder
	look := func(object map[string]any, prefix string) {
		for _, name := range []string{"create_time", "update_time"} {
			if v, ok := object[name]; ok && v != false {
				found.WriteString(" " + prefix + name)
			}
		}
	}
	look(object, "")
	for _, part := range []string{"upstream", "plugins"} {
		inner, _ := object[part].(map[string]any)
		look(inner, part+".")
	}
	if found.Len() == 0 {
		return nil
	}
	return refuse("the property is forbidden: %s", found.String())
}
