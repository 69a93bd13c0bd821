// SPDX-License-Identifier: Apache-2.0

package batchrequests

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

//go:embed batch_schema.json
var batchSchema json.RawMessage

var batchRules = schema.MustCompile(batchSchema)

// batch is the body of a request.
type batch struct {
	// Query and Headers are those of every request that has none of that name.
	Query   map[string]any `json:"query"`
	Headers map[string]any `json:"headers"`
	// Timeout is in milliseconds, for each request.
	Timeout  float64 `json:"timeout"`
	Pipeline []item  `json:"pipeline"`
}

const (
	defaultTimeout = 30 * time.Second
	maxTimeout     = 24 * time.Hour
)

// timeout is how long each request may take. Without a sensible one it is that of a batch that says nothing.
func (b *batch) timeout() time.Duration {
	switch milliseconds := b.Timeout; {
	case milliseconds <= 0:
		return defaultTimeout
	case milliseconds >= float64(maxTimeout.Milliseconds()):
		return maxTimeout
	default:
		return time.Duration(milliseconds) * time.Millisecond
	}
}

// item is one request of a batch. What APISIX knows beside it, the version and ssl_verify, is of the connection that it makes
// to itself.
type item struct {
	Method  string         `json:"method"`
	Path    string         `json:"path"`
	Query   map[string]any `json:"query"`
	Headers map[string]any `json:"headers"`
	Body    string         `json:"body"`
}

// readBatch reads and checks a batch. The error is the text to answer with.
func readBatch(body []byte, maxItems int) (*batch, error) {
	value, err := schema.Decode(body)
	if err != nil {
		return nil, fmt.Errorf("invalid request body: %w", err)
	}
	if err := batchRules.Validate(value); err != nil {
		return nil, fmt.Errorf("bad request body: %w", err)
	}
	filled, err := json.Marshal(batchRules.Fill(value))
	if err != nil {
		return nil, fmt.Errorf("invalid request body: %w", err)
	}
	b := new(batch)
	decoder := json.NewDecoder(bytes.NewReader(filled))
	// A number is sent as it was written.
	decoder.UseNumber()
	if err := decoder.Decode(b); err != nil {
		return nil, fmt.Errorf("bad request body: %w", err)
	}
	if len(b.Pipeline) > maxItems {
		return nil, fmt.Errorf("bad request body: property %q validation failed: expect array to have at most %d items", "pipeline", maxItems)
	}
	return b, nil
}

// subrequest makes one request of a batch that came in x.
func (b *batch) subrequest(x *gateway.Exchange, i *item) *gateway.Subrequest {
	r := &gateway.Subrequest{Method: i.Method, Target: target(i.Path, i.Query, b.Query), Body: []byte(i.Body)}
	h := &r.Header
	addFields(h, i.Headers)
	addAbsent(h, func(into *gateway.Header) { addFields(into, b.Headers) })
	addAbsent(h, func(into *gateway.Header) {
		for name, value := range x.Request.Header.All() {
			// What describes the body is about another one, and of an encoding JSON could not tell.
			if !hasPrefixFold(name, "content-") && !gateway.EqualFold(name, "Accept-Encoding") {
				into.Add(strings.Clone(name), strings.Clone(value))
			}
		}
	})
	r.Host = h.Get("Host")
	// The field by which APISIX knows the client again, who cannot set it.
	h.DelAliases("X-Real-IP")
	h.Set("X-Real-IP", x.Request.ClientIP())
	return r
}

// addAbsent adds fields of which the header has none.
func addAbsent(h *gateway.Header, fill func(*gateway.Header)) {
	var more gateway.Header
	fill(&more)
	more.DelFunc(func(name, _ string) bool {
		_, there := h.Lookup(name)
		return there
	})
	for name, value := range more.All() {
		h.Add(name, value)
	}
}

// addFields adds the fields of a JSON object: a list is several lines.
func addFields(h *gateway.Header, fields map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		values, ok := fields[name].([]any)
		if !ok {
			values = []any{fields[name]}
		}
		for _, value := range values {
			if text, ok := text(value); ok {
				h.Add(name, text)
			}
		}
	}
}

// text is how a value stands in a query or a field; null and objects do not.
func text(value any) (string, bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case json.Number:
		return value.String(), true
	case bool:
		return strconv.FormatBool(value), true
	}
	return "", false
}

// target joins a path with its query and with what of the common one it does not name. As in APISIX true is a name without a
// value, and false leaves the name out.
func target(path string, own, common map[string]any) string {
	all := maps.Clone(common)
	if all == nil {
		all = make(map[string]any, len(own))
	}
	maps.Copy(all, own)
	var query []byte
	for _, name := range slices.Sorted(maps.Keys(all)) {
		values, ok := all[name].([]any)
		if !ok {
			values = []any{all[name]}
		}
		for _, value := range values {
			text, ok := text(value)
			if !ok || value == false {
				continue
			}
			if len(query) > 0 {
				query = append(query, '&')
			}
			query = append(query, escape(name)...)
			if value != true {
				query = append(append(query, '='), escape(text)...)
			}
		}
	}
	switch {
	case len(query) == 0:
		return path
	case strings.Contains(path, "?"):
		return path + "&" + string(query)
	}
	return path + "?" + string(query)
}

func escape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

func hasPrefixFold(text, prefix string) bool {
	return len(text) >= len(prefix) && gateway.EqualFold(text[:len(prefix)], prefix)
}
