// SPDX-License-Identifier: Apache-2.0

package graphqllimitcount

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/andogate/ando/modules/gateway"
)

// weight is a graphql_cost_decoration as it is stored. What it does not say is nil.
type weight struct {
	Path         string   `json:"field_path"`
	AddValue     *float64 `json:"add_value"`
	MulValue     *float64 `json:"mul_value"`
	AddArguments []string `json:"add_arguments"`
	MulArguments []string `json:"mul_arguments"`
}

// decoration is one name of the paths of a service's decorations: a type, and below it fields. It is immutable.
type decoration struct {
	below map[string]*decoration
	// depth is how many names lead here. weight is nil when no path ends here.
	depth  int
	weight *weight
}

// decorations are those of one service; nil is none. They are immutable.
type decorations struct{ types decoration }

// decorated are the decorations of a whole table, by service.
type decorated struct {
	table    gateway.Table
	services map[string]*decorations
}

// newest is what was compiled last: once for each table that is asked about.
var newest atomic.Pointer[decorated]

func decorationsOf(table gateway.Table, service string) *decorations {
	if service == "" {
		return nil
	}
	known := newest.Load()
	if known == nil || known.table != table {
		known = &decorated{table, make(map[string]*decorations)}
		for o := range table.Objects(gateway.GraphQLCostDecorations) {
			known.add(o)
		}
		newest.Store(known)
	}
	return known.services[service]
}

// add enters a decoration. Of two with the same path the last one in key order counts.
func (d *decorated) add(o gateway.Object) {
	w := new(weight)
	service, _, _ := strings.Cut(o.ID, "/")
	names := func() []string { return strings.FieldsFunc(w.Path, func(r rune) bool { return r == '.' }) }
	// A single name is a type and not a field: it weighs nothing.
	if json.Unmarshal(o.Value, w) != nil || len(names()) < 2 {
		return
	}
	if d.services[service] == nil {
		d.services[service] = new(decorations)
	}
	at := &d.services[service].types
	for i, name := range names() {
		if at.below == nil {
			at.below = make(map[string]*decoration)
		}
		if at.below[name] == nil {
			at.below[name] = &decoration{depth: i + 1}
		}
		at = at.below[name]
	}
	at.weight = w
}

// begin returns the paths that begin with the root type of an operation.
func (d *decorations) begin(typ string) []*decoration {
	if d == nil || typ == "" || d.types.below[typ] == nil {
		return nil
	}
	return []*decoration{d.types.below[typ]}
}

// step goes on to a field of a type: live are the paths that led to where it is selected. It returns those that go on below
// the field, and the field's weight. A path of a type and a field holds wherever the field is selected on the type; a longer
// one is pinned to its chain, and where two hold the longer one decides.
func (d *decorations) step(live []*decoration, on, typ, field string) (below []*decoration, w *weight) {
	if d == nil {
		return nil, nil
	}
	var found []*decoration
	for _, path := range live {
		if next := path.below[field]; next != nil {
			below = append(below, next)
			if next.weight != nil {
				found = append(found, next)
			}
		}
	}
	// The type's own paths are live already where the chain began with it.
	if start := d.types.below[on]; start != nil && !slices.Contains(live, start) {
		if next := start.below[field]; next != nil {
			below = append(below, next)
			if next.weight != nil {
				found = append(found, next)
			}
		}
	}
	return below, merge(found)
}

// merge lays weights over each other, those of longer paths on top.
func merge(found []*decoration) *weight {
	switch len(found) {
	case 0:
		return nil
	case 1:
		return found[0].weight
	}
	slices.SortStableFunc(found, func(a, b *decoration) int { return cmp.Compare(a.depth, b.depth) })
	merged := new(weight)
	for _, d := range found {
		w := d.weight
		if w.AddValue != nil {
			merged.AddValue = w.AddValue
		}
		if w.MulValue != nil {
			merged.MulValue = w.MulValue
		}
		if w.AddArguments != nil {
			merged.AddArguments = w.AddArguments
		}
		if w.MulArguments != nil {
			merged.MulArguments = w.MulArguments
		}
	}
	return merged
}
