// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// patch merges the body into an object, or puts it in the place of a part of it.
func (h *Handler) patch(w http.ResponseWriter, q *request) error {
	if q.id == "" {
		return q.noID(q.Method)
	}
	if q.body == nil {
		return badRequest("missing new configuration")
	}
	if q.whole && q.sub != nil {
		return badRequest("invalid sub-path: /" + strings.Join(q.sub, "/"))
	}
	if q.sub == nil && !isObject(q.body) && !isArray(q.body) {
		return badRequest("invalid configuration")
	}
	for _, name := range q.fixed {
		if lookup(q.body, name) != nil {
			return badRequest(name + " can not be patched")
		}
	}
	id := q.objectID(q.id)
	before, exists := h.gateway.Table().Object(q.kind, id)
	if !exists {
		return errNoSuchKey
	}
	// Most patches meet nobody: what they make is checked here, and not while the committer waits.
	d, err := h.patched(q, before)
	if err != nil {
		return err
	}
	err = h.submit(q, d, func(tx gateway.Tx) ([]gateway.Change, error) {
		prior, exists := tx.Object(q.kind, id)
		if !exists {
			return nil, errNoSuchKey
		}
		if err := q.condition.check(q.kind, id, prior, exists); err != nil {
			return nil, err
		}
		if prior.Modified != before.Modified || prior.Origin != before.Origin {
			var err error
			if d, err = h.patched(q, prior); err != nil {
				return nil, err
			}
		}
		if err := checkReferences(tx, q.resource, d); err != nil {
			return nil, err
		}
		return []gateway.Change{{Object: d.object}}, nil
	})
	if err != nil {
		return err
	}
	h.writeObject(w, http.StatusOK, q, d.object)
	return nil
}

// patched returns what the patch makes of prior, checked by itself.
func (h *Handler) patched(q *request, prior gateway.Object) (*draft, error) {
	now := h.now()
	// What others have stored may be spelt in any way.
	doc, err := normalize(h.unseal(prior))
	if err != nil {
		return nil, badRequest("invalid configuration: " + err.Error())
	}
	value, err := applyPatch(doc, q.sub, q.body)
	if err != nil {
		return nil, err
	}
	// Both halves are within bounds; together they may be too deep.
	if value, err = normalize(value); err != nil {
		return nil, badRequest("invalid configuration: " + err.Error())
	}
	if !isObject(value) {
		return nil, badRequest("invalid configuration: wrong type: expected object, got " + luaType(value))
	}
	fs := parseFields(value)
	if _, err := q.chooseID(&fs); err != nil {
		return nil, err
	}
	if fs.get("create_time") == nil {
		fs.set("create_time", unixTime(now))
	}
	if q.sub != nil || lookup(q.body, "update_time") == nil || fs.get("update_time") == nil {
		fs.set("update_time", unixTime(now))
	}
	d, err := h.draft(q, q.id, fs)
	if err != nil {
		return nil, err
	}
	d.object.Expires = q.expires(now)
	return d, nil
}

// applyPatch merges body into doc, or puts it where sub leads. Both are valid and without white space.
func applyPatch(doc json.RawMessage, sub []string, body []byte) (json.RawMessage, error) {
	switch {
	case sub == nil && isObject(doc) && isObject(body):
		return merge(doc, body), nil
	case sub == nil, sub[len(sub)-1] == "":
		return body, nil
	}
	bad := len(sub) > maxDepth || slices.ContainsFunc(sub, func(name string) bool { return strings.ContainsRune(name, 0) })
	if !bad {
		if replaced, ok := replaceAt(doc, sub, body); ok {
			return replaced, nil
		}
	}
	return nil, badRequest("invalid sub-path: /" + strings.Join(sub, "/"))
}

// merge puts the members of patch into object: null removes a member, objects are merged, all else is replaced. What is
// new comes as it is, nulls included.
func merge(object, patch []byte) json.RawMessage {
	merged := parseFields(object)
	place := make(map[string]int, len(merged))
	for i, f := range merged {
		place[unquote(f.key)] = i
	}
	for f := range eachField(patch) {
		name := unquote(f.key)
		i, exists := place[name]
		null := f.value[0] == 'n'
		switch {
		case !exists && !null:
			place[name] = len(merged)
			merged = append(merged, f)
		case !exists:
		case null:
			merged[i].value = nil
			delete(place, name)
		case isObject(f.value) && isObject(merged[i].value) && len(merged[i].value) > len("{}"):
			merged[i].value = merge(merged[i].value, f.value)
		default:
			merged[i].value = f.value
		}
	}
	merged = slices.DeleteFunc(merged, func(f field) bool { return f.value == nil })
	return merged.text()
}

// replaceAt puts value where path leads, through objects that are made where there are none. ok is false when something
// else is in the way.
func replaceAt(doc []byte, path []string, value []byte) (replaced []byte, ok bool) {
	if !isObject(doc) {
		return nil, false
	}
	fs := parseFields(doc)
	if len(path) > 1 {
		inner := []byte(fs.get(path[0]))
		if inner == nil {
			inner = []byte("{}")
		}
		if value, ok = replaceAt(inner, path[1:], value); !ok {
			return nil, false
		}
	}
	fs.set(path[0], value)
	return fs.text(), true
}
