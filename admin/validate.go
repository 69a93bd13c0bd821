// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// validateSchema checks a body against a kind's JSON schema and nothing else.
func (h *Handler) validateSchema(w http.ResponseWriter, r *http.Request, name string) error {
	kind := resources[name]
	var rules *schema.Schema
	if kind != nil {
		rules = schema.ForKind(kind.kind)
	}
	if rules == nil {
		return refuse(http.StatusNotFound, "Unsupported resource type: "+name)
	}
	body, err := readBody(r)
	if err != nil {
		return err
	}
	if body == nil {
		return badRequest("missing configurations")
	}
	value, err := schema.Decode(body)
	if err != nil {
		return badRequest(err.Error())
	}
	if err := rules.Validate(value); err != nil {
		return h.withErrors(badRequest(err.Error()), rules.Problems("", value))
	}
	writeJSON(w, http.StatusOK, nil)
	return nil
}

// finding is what is wrong with one entry of a document.
type finding struct {
	kind, id string
	// index counts from 0; -1 is the kind as a whole.
	index int
	text  string
}

func (f finding) json() []byte {
	var fs fields
	fs.set("resource_type", quote(f.kind))
	if f.index >= 0 {
		fs.set("resource_id", quote(f.id))
		fs.set("index", fmt.Appendf(nil, "%d", f.index))
	}
	fs.set("error", quote(f.text))
	return fs.text()
}

// validateConfigs checks a whole document, entry by entry and each by itself: nothing is stored, and whether what is
// referred to exists is not looked at.
func (h *Handler) validateConfigs(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	if body == nil {
		return badRequest("invalid request body: empty request body")
	}
	if !isObject(body) {
		return badRequest("invalid request body: expected an object")
	}
	document := parseFields(body)
	var findings []finding
	for _, name := range documentKinds {
		findings = append(findings, h.validateKind(name, document)...)
	}
	if len(findings) == 0 {
		writeJSON(w, http.StatusOK, []byte("{}\n"))
		return nil
	}
	errors := []byte{'['}
	for i, f := range findings {
		if i > 0 {
			errors = append(errors, ',')
		}
		errors = append(errors, f.json()...)
	}
	var answer fields
	answer.set("error_msg", quote("Configuration validation failed"))
	answer.set("errors", append(errors, ']'))
	writeJSON(w, http.StatusBadRequest, append(answer.text(), '\n'))
	return nil
}

// documentKinds are the lists of a document, in a fixed order.
var documentKinds = func() []string {
	names := make([]string, 0, len(resources))
	for name := range resources {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}()

func (h *Handler) validateKind(name string, document fields) (findings []finding) {
	versionName := name + "_conf_version"
	if version := document.get(versionName); version != nil && luaType(version) != "number" {
		findings = append(findings, finding{name, "", -1, fmt.Sprintf("%s must be a number, got %s", versionName, luaType(version))})
	}
	list := document.get(name)
	if list == nil {
		return findings
	}
	if !isArray(list) {
		return append(findings, finding{name, "", -1, name + " must be an array"})
	}
	seen := make(map[string]bool)
	index := 0
	for item := range eachItem(list) {
		id, err := h.validateEntry(name, item, seen)
		if err != nil {
			findings = append(findings, finding{name, id, index, h.problem(err).Error()})
		}
		index++
	}
	return findings
}

// validateEntry checks one entry and returns what it is called.
func (h *Handler) validateEntry(name string, item []byte, seen map[string]bool) (id string, err error) {
	r := resources[name]
	if !isObject(item) {
		return "", badRequest("invalid configuration: wrong type: expected object, got " + luaType(item))
	}
	fs := parseFields(item)
	fs.remove("modifiedIndex")
	idName := "id"
	id, _ = idText(fs.get("id"))
	if r.kind == gateway.Consumers {
		if user, credential, ok := gateway.SplitCredentialID(id); ok {
			r, idName = subresources[[2]string{"consumers", "credentials"}], "credential id"
			if user == "" || idPattern.FindString(credential) == "" {
				return id, errBadID
			}
			fs.set("id", quote(credential))
		} else {
			id, idName = "", "username"
			if user, ok := stringOf(fs.get("username")); ok {
				id = user
			}
		}
	}
	if f := r.folder; f != nil && f.names != nil {
		manager, short, ok := strings.Cut(id, "/")
		if !ok || !idPattern.MatchString(short) {
			return id, badRequest("invalid secret id: " + id)
		}
		if !slices.Contains(f.names, manager) {
			return id, badRequest(fmt.Sprintf(f.unknownName, manager))
		}
	}
	if err := h.check(gateway.Object{Kind: r.kind, ID: id, Value: fs.text()}); err != nil {
		return id, err
	}
	if id != "" && seen[id] {
		return id, badRequest(fmt.Sprintf("found duplicate %s %s in %s", idName, id, name))
	}
	seen[id] = true
	return id, nil
}
