// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// entry is one item of a section.
type entry struct {
	// id tells the items of a section apart; named is what it is called in messages. name is the id as far as the item
	// says it.
	id, named, name string
	value           map[string]any
	// object is nil for items that are none.
	object *gateway.Object
}

var (
	idPattern = regexp.MustCompile(`^[a-zA-Z0-9\-_.]+$`)
	managers  = []string{"aws", "gcp", "vault"}
)

// newEntry finds out what an item is. The entry has a name also after an error, if there is one.
func newEntry(section string, index int, item any) (entry, error) {
	value, ok := item.(map[string]any)
	if !ok {
		return entry{}, refuse("invalid configuration: wrong type: expected object, got %s", luaType(item))
	}
	e := entry{value: maps.Clone(value), named: "id"}
	delete(e.value, "modifiedIndex")
	if section == pluginsSection {
		return e, e.readPlugin()
	}
	kind := gateway.Kind(section)
	e.name = schema.IDText(e.value)
	if e.id = e.name; e.id == "" {
		e.id = "arr_" + strconv.Itoa(index+1)
	}
	var err error
	switch {
	case kind == gateway.Consumers && strings.Contains(e.id, "/"):
		kind = gateway.Credentials
		err = e.readCredential()
	case kind == gateway.Consumers:
		e.readConsumer()
	case kind == gateway.Secrets:
		err = e.readSecret()
	case e.name == "":
		e.value["id"] = e.id
	}
	e.object = &gateway.Object{Kind: kind, ID: e.id}
	return e, err
}

// readPlugin reads {"name": "cors"} and {"name": "mqtt-proxy", "stream": true}.
func (e *entry) readPlugin() error {
	name, ok := e.value["name"].(string)
	if !ok || name == "" {
		return refuse(`invalid configuration: property "name" is required`)
	}
	if stream, given := e.value["stream"]; given {
		if _, ok := stream.(bool); !ok {
			return refuse(`invalid configuration: property "stream" validation failed: wrong type: expected boolean, got %s`, luaType(stream))
		}
	}
	e.id, e.name, e.named = name, name, "name"
	return nil
}

// readConsumer takes the name for the id. Whether it is a good one is a question for the schema.
func (e *entry) readConsumer() {
	e.named = "username"
	e.name, _ = e.value["username"].(string)
	if e.name != "" {
		e.id = e.name
	}
}

// readCredential leaves only the last part of the id in the value, as the Admin API stores it.
func (e *entry) readCredential() error {
	e.named = "credential id"
	consumer, credential, ok := gateway.SplitCredentialID(e.id)
	if !ok || !idPattern.MatchString(consumer) || !idPattern.MatchString(credential) {
		return refuse(`invalid configuration: property "id" validation failed: object matches none of the required`)
	}
	e.value["id"] = credential
	return nil
}

func (e *entry) readSecret() error {
	manager, id, ok := strings.Cut(e.name, "/")
	if !ok || !idPattern.MatchString(id) {
		return refuse("invalid secret id: %s", e.name)
	}
	if !slices.Contains(managers, manager) {
		return refuse("invalid secret manager: %s", manager)
	}
	return nil
}

// check checks the item by itself and completes the object.
func (e *entry) check(checker Checker) error {
	if err := schema.Check(e.object.Kind, e.value); err != nil {
		return err
	}
	raw, err := encode(e.value)
	if err != nil {
		return fmt.Errorf("encode the item: %w", err)
	}
	e.object.Value = raw
	return checker.Check(*e.object)
}

// encode writes what [schema.Decode] gives as compact JSON, with the names of every object sorted.
func encode(value any) (json.RawMessage, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func numberOf(value any) (float64, bool) {
	n, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil
}

// luaType names the type of a value as APISIX's messages do.
func luaType(value any) string {
	switch value.(type) {
	case nil:
		return "nil"
	case bool:
		return "boolean"
	case string:
		return "string"
	case json.Number:
		return "number"
	}
	return "table"
}
