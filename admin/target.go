// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// prefix is the path of the API.
const prefix = "/apisix/admin"

// splitPath returns the decoded segments behind the prefix. A slash that was sent encoded is part of its segment.
func splitPath(u *url.URL) (segments []string, ok bool) {
	rest, ok := strings.CutPrefix(u.EscapedPath(), prefix)
	if !ok || rest != "" && rest[0] != '/' {
		return nil, false
	}
	if rest == "" || rest == "/" {
		return nil, true
	}
	segments = strings.Split(rest[1:], "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		if err != nil {
			return nil, false
		}
		segments[i] = decoded
	}
	return segments, true
}

// target is what a path names: a collection, an object or a part of one.
type target struct {
	*resource
	// parent names the folder of the object, for kinds that have folders. It is empty for all of them together.
	parent string
	// id is the object's id within its folder, empty for the collection.
	id string
	// sub is the path into the object; nil is the object. A last segment that is empty stands for the object too.
	sub []string
}

func (h *Handler) target(segments []string) (target, error) {
	name, rest := segments[0], segments[1:]
	found := resources[name]
	if found != nil && found.stream && !h.stream {
		return target{}, badRequest("stream mode is disabled, can not add stream routes")
	}
	if len(rest) >= 2 {
		if child := subresources[[2]string{name, rest[1]}]; child != nil {
			return newTarget(child, append([]string{rest[0]}, rest[2:]...)), nil
		}
	}
	if found == nil {
		return target{}, refuse(http.StatusNotFound, "Unsupported resource type: "+name)
	}
	return newTarget(found, rest), nil
}

func newTarget(r *resource, rest []string) target {
	t := target{resource: r}
	if r.folder != nil && len(rest) > 0 {
		t.parent, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		t.id, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		t.sub = rest
	}
	return t
}

// foldSub makes what follows the id part of it, for methods that know no sub paths: no such object can be.
func (t *target) foldSub() {
	if sub := strings.TrimSuffix(strings.Join(t.sub, "/"), "/"); sub != "" {
		t.id += "/" + sub
	}
	t.sub = nil
}

// objectID returns the id of the object, as the gateway knows it, whose short id is id.
func (t *target) objectID(id string) string {
	if t.folder == nil {
		return id
	}
	return t.folder.join(t.parent, id)
}

// shownID returns what member id of the object's value is.
func (t *target) shownID(id string) string {
	if f := t.folder; f != nil && !f.showsFull {
		return id
	}
	return t.objectID(id)
}

// checkFolder refuses writes into a folder that does not exist.
func (t *target) checkFolder(table gateway.Table) error {
	f := t.folder
	switch {
	case f == nil:
		return nil
	case f.parent == "":
		if !slices.Contains(f.names, t.parent) {
			return badRequest(fmt.Sprintf(f.unknownName, t.parent))
		}
		return nil
	}
	if _, ok := table.Object(f.parent, t.parent); !ok {
		return refuse(http.StatusNotFound, f.missingParent)
	}
	return nil
}

var (
	idPattern = regexp.MustCompile(`^[a-zA-Z0-9\-_.]+$`)
	errBadID  = badRequest(`invalid configuration: property "id" validation failed: object matches none of the required`)
)

// maxID bounds ids. Those of named kinds are bounded by their schema.
const maxID = 64

func (t *target) checkID(id string) error {
	if !idPattern.MatchString(id) || len(id) > maxID && t.named == "" {
		return errBadID
	}
	return nil
}
