// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bufio"
	"cmp"
	"iter"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// get answers with one object, or with all of a kind.
func (h *Handler) get(w http.ResponseWriter, q *request) error {
	if q.id == "" {
		return h.list(w, q)
	}
	o, exists := h.gateway.Table().Object(q.kind, q.objectID(q.id))
	if !exists {
		return errNoSuchKey
	}
	tag := etag(o)
	w.Header().Set("ETag", tag)
	if q.condition.noneMatch != nil && matches(q.condition.noneMatch, tag, true) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	writeJSON(w, http.StatusOK, append(h.appendItem(nil, q.resource, o), '\n'))
	return nil
}

// appendItem appends an object with its revisions.
func (h *Handler) appendItem(dst []byte, r *resource, o gateway.Object) []byte {
	dst = append(append(dst, `{"key":`...), quote(o.Key())...)
	dst = append(append(dst, `,"value":`...), h.shown(r, o)...)
	dst = strconv.AppendUint(append(dst, `,"createdIndex":`...), o.Created, 10)
	dst = strconv.AppendUint(append(dst, `,"modifiedIndex":`...), o.Modified, 10)
	return append(dst, '}')
}

// list answers with the objects that are asked for. They are written one by one: a list takes no more memory than its
// longest object, a page of one a few words for each object that it is a page of.
func (h *Handler) list(w http.ResponseWriter, q *request) error {
	p, err := parsePage(q.query)
	if err != nil {
		return err
	}
	table := h.gateway.Table()
	wanted := parseFilter(q.resource, q.query)
	objects := func(yield func(gateway.Object) bool) {
		inFolder := q.objectID("")
		if q.parent == "" {
			inFolder = ""
		}
		for o := range table.Objects(q.kind) {
			if strings.HasPrefix(o.ID, inFolder) && wanted.matches(o) && !yield(o) {
				return
			}
		}
	}
	total := 0
	var rows []gateway.Object
	for o := range objects {
		total++
		if p.size > 0 || wanted.slow() {
			rows = append(rows, o)
		}
	}
	if total == 0 && q.folder != nil && q.folder.parent != "" && wanted.none() {
		return errNoSuchKey
	}
	page := iter.Seq[gateway.Object](objects)
	switch {
	case p.size == 0 && wanted.slow():
		// Matching again could find less, once the time for it is over.
		page = slices.Values(rows)
	case p.size > 0:
		slices.SortStableFunc(rows, func(a, b gateway.Object) int { return cmp.Compare(a.Created, b.Created) })
		page = slices.Values(p.of(rows))
	}
	h.writeList(w, q.resource, total, page)
	return nil
}

func (h *Handler) writeList(w http.ResponseWriter, r *resource, total int, objects iter.Seq[gateway.Object]) {
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriter(w)
	item := strconv.AppendInt([]byte(`{"total":`), int64(total), 10)
	item = append(item, `,"list":[`...)
	first := true
	for o := range objects {
		if !first {
			item = append(item, ',')
		}
		first = false
		item = h.appendItem(item, r, o)
		if _, err := out.Write(item); err != nil {
			// The client has gone.
			return
		}
		item = item[:0]
	}
	_, _ = out.Write(append(item, "]}\n"...))
	_ = out.Flush()
}

// page is which part of a list is asked for. A size of 0 asks for all of it, in key order.
type page struct{ number, size int }

const (
	minPage = 10
	maxPage = 500
)

func parsePage(query url.Values) (page, error) {
	number, ok := parseNumber(query.Get("page"))
	size, sized := parseNumber(query.Get("page_size"))
	if !ok || !sized {
		return page{}, nil
	}
	if size < minPage || size > maxPage {
		return page{}, &problem{status: http.StatusBadRequest, text: "page_size must be between 10 and 500"}
	}
	return page{int(min(max(number, 1), math.MaxInt32)), int(size)}, nil
}

func parseNumber(text string) (n float64, ok bool) {
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil && !math.IsNaN(n)
}

// of returns the page's part of rows.
func (p page) of(rows []gateway.Object) []gateway.Object {
	from := min((p.number-1)*p.size, len(rows))
	return rows[from:min(from+p.size, len(rows))]
}

// filter selects objects. The zero value selects all.
type filter struct {
	name, uri *pattern
	// nothing is set when a pattern cannot be read: it matches nothing.
	nothing bool
	label   string
	members map[string]string
}

func parseFilter(r *resource, query url.Values) filter {
	f := filter{label: query.Get("label")}
	f.name = f.pattern(query.Get("name"))
	f.uri = f.pattern(query.Get("uri"))
	if len(r.filters) == 0 || !query.Has("filter") {
		return f
	}
	// What cannot be read of the text is left out, as keys are that no filter knows.
	members, _ := url.ParseQuery(query.Get("filter"))
	for _, name := range r.filters {
		if values := members[name]; len(values) > 0 {
			if f.members == nil {
				f.members = make(map[string]string)
			}
			f.members[name] = values[len(values)-1]
		}
	}
	return f
}

func (f *filter) pattern(text string) *pattern {
	if text == "" {
		return nil
	}
	p, ok := compilePattern(text)
	if !ok {
		f.nothing = true
	}
	return p
}

func (f *filter) slow() bool {
	return f.name != nil && f.name.slow != nil || f.uri != nil && f.uri.slow != nil
}

func (f *filter) none() bool {
	return f.name == nil && f.uri == nil && !f.nothing && f.label == "" && len(f.members) == 0
}

func (f *filter) matches(o gateway.Object) bool {
	if f.none() {
		return true
	}
	if f.nothing {
		return false
	}
	for name, want := range f.members {
		if got, ok := stringOf(lookup(o.Value, name)); !ok || got != want {
			return false
		}
	}
	if f.label != "" && lookup(o.Value, "labels", f.label) == nil {
		return false
	}
	return f.matchesName(o.Value) && f.matchesURI(o.Value)
}

// matchesName takes an object without a name for one that is called nil, as APISIX does.
func (f *filter) matchesName(value []byte) bool {
	if f.name == nil {
		return true
	}
	name, ok := stringOf(lookup(value, "name"))
	if !ok {
		name = "nil"
	}
	return f.name.search(name)
}

func (f *filter) matchesURI(value []byte) bool {
	if f.uri == nil {
		return true
	}
	if uri, ok := stringOf(lookup(value, "uri")); ok && f.uri.search(uri) {
		return true
	}
	for item := range eachItem(lookup(value, "uris")) {
		if uri, ok := stringOf(item); ok && f.uri.search(uri) {
			return true
		}
	}
	return false
}
