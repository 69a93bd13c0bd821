// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// etag returns the entity tag of an object: its revision, and a hash, since revisions begin again where a store does.
func etag(o gateway.Object) string {
	hash := sha256.New()
	hash.Write(strconv.AppendUint(nil, o.Created, 10))
	hash.Write([]byte{' ', byte(o.Origin)})
	hash.Write([]byte(o.Key()))
	hash.Write(o.Value)
	return fmt.Sprintf(`"%d-%s"`, o.Modified, hex.EncodeToString(hash.Sum(nil)[:8]))
}

// condition is what a request wants of the object as it is (RFC 9110, section 13).
type condition struct {
	// match and noneMatch are the fields' values; nil is no field.
	match, noneMatch []string
}

func conditionOf(header http.Header) condition {
	return condition{header["If-Match"], header["If-None-Match"]}
}

// check refuses a write for which the object, or its absence, is not what the client asked for. It runs on the committer,
// so nobody comes in between.
func (c condition) check(kind gateway.Kind, id string, o gateway.Object, exists bool) error {
	if c.match == nil && c.noneMatch == nil {
		return nil
	}
	key, tag := gateway.Key(kind, id), ""
	if exists {
		tag = etag(o)
	}
	switch {
	case c.match != nil && !exists:
		return &problem{status: http.StatusPreconditionFailed, members: []member{
			{"error_msg", "If-Match: " + key + " does not exist"},
		}}
	case c.match != nil && !matches(c.match, tag, false):
		return &problem{status: http.StatusPreconditionFailed, etag: tag, members: []member{
			{"error_msg", fmt.Sprintf("If-Match: %s has changed, its ETag is %s now", key, tag)},
		}}
	case c.noneMatch != nil && exists && matches(c.noneMatch, tag, true):
		return &problem{status: http.StatusPreconditionFailed, etag: tag, members: []member{
			{"error_msg", fmt.Sprintf("If-None-Match: %s exists, its ETag is %s", key, tag)},
		}}
	}
	return nil
}

// matches reports whether a list of entity tags has the one of an object that exists. weak takes tags for equal that are
// marked weak: If-None-Match's comparison.
func matches(values []string, tag string, weak bool) bool {
	for _, value := range values {
		if strings.TrimSpace(value) == "*" {
			return true
		}
		for rest := value; rest != ""; {
			rest = strings.TrimLeft(rest, " \t,")
			text, isWeak := strings.CutPrefix(rest, "W/")
			if !strings.HasPrefix(text, `"`) {
				break // not a tag, and what follows it cannot be told apart
			}
			end := strings.IndexByte(text[1:], '"')
			if end < 0 {
				break
			}
			end += len(`""`)
			if text[:end] == tag && (weak || !isWeak) {
				return true
			}
			rest = text[end:]
		}
	}
	return false
}

// dryRunField says that an answer is to a write that was tried and not done.
const dryRunField = "X-Ando-Dry-Run"

// submit does a write. One that asks to be tried only, with `dry_run=true`, is compiled and then forgotten. d is what is
// written; nil is a delete. The secrets that it refers to, or that a changed manager keeps, are asked for, so that what
// has been answered is served with them.
func (h *Handler) submit(q *request, d *draft, write func(gateway.Tx) ([]gateway.Change, error)) error {
	if d != nil && h.secrets != nil {
		h.secrets.Prefetch(q.Context(), d.object.Value)
	}
	if q.dryRun {
		return h.gateway.Try(q.Context(), write)
	}
	if _, err := h.gateway.Submit(q.Context(), write); err != nil {
		return err
	}
	if q.kind == gateway.Secrets && h.secrets != nil {
		h.secrets.Pass(q.Context())
	}
	if h.settle != nil && (q.kind == gateway.Routes || q.kind == gateway.Services) {
		var o gateway.Object
		if d != nil {
			o = d.object
		}
		q.certificates = h.settle(q.Context(), o)
	}
	return nil
}

// parseDryRun refuses what is neither yes nor no: it would be a write that nobody wanted, or none that somebody did.
func parseDryRun(r *http.Request, values []string) (bool, error) {
	if r.Method == http.MethodGet || len(values) == 0 {
		return false, nil
	}
	switch values[0] {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, badRequest("invalid argument dry_run: should be true or false")
}
