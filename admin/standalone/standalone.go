// SPDX-License-Identifier: Apache-2.0

// Package standalone reads the whole configuration as one document: APISIX's apisix.yaml and apisix.json, and what
// clients put to /apisix/admin/configs.
package standalone

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// Sections are the lists of a document, in the order in which they are looked at. All but "plugins" are named like the
// kind of their items; the items of "consumers" are credentials too.
var Sections = []string{
	"consumer_groups", "consumers", "global_rules", "plugin_configs", "plugin_metadata", pluginsSection, "protos", "routes",
	"secrets", "services", "ssls", "stream_routes", "upstreams",
}

// pluginsSection lists the plugins that may be used. Its items are no objects.
const pluginsSection = "plugins"

// versionSuffix follows the name of a section in the name of its version.
const versionSuffix = "_conf_version"

// Checker checks of one object what can be compiled without the others. Its error is a [gateway.Refusal].
type Checker interface {
	Check(o gateway.Object) error
}

// Document is a whole configuration that has been parsed and not been looked at yet. It is not changed.
type Document struct{ root map[string]any }

// ErrNotAnObject refuses a document that is well-formed and still none.
var ErrNotAnObject = errors.New("an object with lists such as routes and upstreams is expected")

// ParseJSON reads a document in JSON.
func ParseJSON(raw []byte) (*Document, error) {
	value, err := schema.Decode(raw)
	if err != nil {
		return nil, err
	}
	return newDocument(value)
}

// ParseYAML reads a document in YAML. An empty one is a document without lists.
func ParseYAML(raw []byte) (*Document, error) {
	value, err := decodeYAML(raw)
	if err != nil {
		return nil, err
	}
	if value == nil {
		value = map[string]any{}
	}
	return newDocument(value)
}

func newDocument(value any) (*Document, error) {
	root, ok := value.(map[string]any)
	if !ok {
		return nil, ErrNotAnObject
	}
	return &Document{root}, nil
}

// endMarker is the last line of an apisix.yaml that has been written to its end.
var endMarker = regexp.MustCompile(`#END\s*$`)

// markerWithin is how many of the last bytes are searched for the marker.
const markerWithin = 10

// ParseFile reads the text of a file: JSON when its name ends in .json, otherwise YAML, which ends with #END.
// ${{NAME}} and ${{NAME:=default}} stand for variables of env: anywhere in YAML, in strings in JSON.
func ParseFile(name string, raw []byte, env func(string) (string, bool)) (*Document, error) {
	if filepath.Ext(name) == ".json" {
		d, err := ParseJSON(raw)
		if err != nil {
			return nil, err
		}
		return d.substitute(env)
	}
	if !endMarker.Match(raw[max(0, len(raw)-markerWithin):]) {
		return nil, fmt.Errorf("missing valid end flag in file %s", name)
	}
	text, err := Substitute(string(raw), env)
	if err != nil {
		return nil, err
	}
	return ParseYAML([]byte(text))
}

// Environment is the process's environment, for [ParseFile].
var Environment = os.LookupEnv

// Unknown lists the members of the document that stand for nothing.
func (d *Document) Unknown() []string {
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(d.root)) {
		known := func(section string) bool { return name == section || name == section+versionSuffix }
		if !slices.ContainsFunc(Sections, known) {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// Plugins are the names in the list of plugins that may be used, and whether there is such a list.
func (d *Document) Plugins() (names []string, given bool) {
	items, given := d.root[pluginsSection].([]any)
	for i, item := range items {
		if e, err := newEntry(pluginsSection, i, item); err == nil {
			names = append(names, e.name)
		}
	}
	return names, given
}

// Finding is what is wrong with one item of a document, or with a section as a whole.
type Finding struct {
	Section string
	// Index counts the items of the section from 0; it is -1 for the section as a whole.
	Index int
	// ID is what the item is called, as far as it has a name.
	ID string
	// Err is a [gateway.Refusal] with the text that a write of the item alone would give.
	Err error

	// object has the kind and id of the item, when it is an object.
	object *gateway.Object
}

func (f Finding) Error() string {
	switch {
	case f.Index < 0:
		return f.Err.Error()
	case f.ID == "":
		return fmt.Sprintf("%s, item %d: %v", f.Section, f.Index+1, f.Err)
	}
	return fmt.Sprintf("%s %s, item %d: %v", f.Section, f.ID, f.Index+1, f.Err)
}

func (f Finding) Unwrap() error { return f.Err }

// Objects checks every item by itself, as the Admin API would, and returns the objects of those that are good. Whether
// what they refer to exists is not looked at.
func (d *Document) Objects(checker Checker) ([]gateway.Object, []Finding) {
	var objects []gateway.Object
	var findings []Finding
	for _, name := range Sections {
		if finding, ok := d.checkVersion(name); !ok {
			findings = append(findings, finding)
		}
		some, wrong := d.section(name, checker)
		objects, findings = append(objects, some...), append(findings, wrong...)
	}
	return objects, findings
}

func (d *Document) checkVersion(name string) (Finding, bool) {
	value, given := d.root[name+versionSuffix]
	if _, ok := numberOf(value); ok || !given {
		return Finding{}, true
	}
	err := refuse("%s must be a number, got %s", name+versionSuffix, luaType(value))
	return Finding{Section: name, Index: -1, Err: err}, false
}

// section checks the items of one section.
func (d *Document) section(name string, checker Checker) (objects []gateway.Object, findings []Finding) {
	value := d.root[name]
	if value == nil {
		return nil, nil
	}
	items, ok := value.([]any)
	if empty, isObject := value.(map[string]any); !ok && (!isObject || len(empty) > 0) {
		// To APISIX an empty object is an empty list.
		return nil, []Finding{{Section: name, Index: -1, Err: refuse("%s must be an array", name)}}
	}
	seen := make(map[string]bool, len(items))
	for i, value := range items {
		e, err := newEntry(name, i, value)
		if err == nil && e.object != nil {
			err = e.check(checker)
		}
		if err == nil && seen[e.id] {
			err = refuse("found duplicate %s %s in %s", e.named, e.id, name)
		}
		if err != nil {
			findings = append(findings, Finding{name, i, e.name, err, e.object})
			continue
		}
		seen[e.id] = true
		if e.object != nil {
			objects = append(objects, *e.object)
		}
	}
	return objects, findings
}

func refuse(format string, args ...any) error {
	return &gateway.Refusal{Message: fmt.Sprintf(format, args...)}
}
