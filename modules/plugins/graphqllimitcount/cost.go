// SPDX-License-Identifier: Apache-2.0

package graphqllimitcount

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/andogate/ando/modules/gateway"
)

// maxSelections is how many selections are looked at, fragments counted each time: some few that spread each other twice
// come to any number.
const maxSelections = 100_000

var (
	errCycle = errors.New("Invalid graphql request: fragment spreads must not form cycles")            //nolint:staticcheck // APISIX's text
	errMany  = errors.New("Invalid graphql request: the query expands too many selections")            //nolint:staticcheck // APISIX's text
	errAsk   = errors.New("Invalid graphql request: failed to introspect the upstream graphql schema") //nolint:staticcheck // APISIX's text
)

// clientText is what a client is told of an error.
func clientText(err error) string {
	if errors.Is(err, errCycle) || errors.Is(err, errMany) {
		return err.Error()
	}
	return errAsk.Error()
}

// rawCost is what a query costs before it is scaled. errUnknownSchema says that the schema has to be asked for, which may
// wait.
func (g *graphqlLimitCount) rawCost(x *gateway.Exchange, q *query, mayWait bool) (float64, error) {
	if g.strategy == "depth" {
		return q.depth()
	}
	w := walker{query: q, decorations: decorationsOf(x.Table, x.Route.ServiceID)}
	if g.resolves {
		w.variables = q.variables
	}
	w.defaults = g.resolves
	if w.decorations != nil {
		var err error
		if w.schema, err = g.schemas.get(x, mayWait); err != nil {
			return 0, err
		}
	}
	return w.cost(g.strategy == "node_quantifier")
}

// depth is how deep the selections of the deepest operation go; fragments are transparent.
func (q *query) depth() (float64, error) {
	d := depths{query: q, known: make(map[string]int), open: make(map[string]bool)}
	deepest := 1
	for _, operation := range q.operations {
		deepest = max(deepest, 1+d.of(operation.SelectionSet))
	}
	if d.cycle {
		return 0, errCycle
	}
	return float64(deepest), nil
}

// depths measures each fragment once.
type depths struct {
	*query
	known map[string]int
	open  map[string]bool
	cycle bool
}

func (d *depths) of(set ast.SelectionSet) (deepest int) {
	for _, selection := range set {
		depth := 0
		switch s := selection.(type) {
		case *ast.Field:
			if len(s.SelectionSet) > 0 {
				depth = 1 + d.of(s.SelectionSet)
			}
		case *ast.InlineFragment:
			depth = d.of(s.SelectionSet)
		case *ast.FragmentSpread:
			depth = d.fragment(s.Name)
		}
		deepest = max(deepest, depth)
	}
	return deepest
}

func (d *depths) fragment(name string) int {
	if d.open[name] {
		d.cycle = true
		return 0
	}
	if depth, known := d.known[name]; known {
		return depth
	}
	fragment := d.fragments[name]
	if fragment == nil {
		return 0
	}
	d.open[name] = true
	d.known[name] = d.of(fragment.SelectionSet)
	delete(d.open, name)
	return d.known[name]
}

// walker adds up what the fields of a query cost. It follows the types of the schema alongside, since decorations name
// them.
type walker struct {
	*query
	decorations *decorations
	schema      *schema
	variables   map[string]any
	// defaults says that arguments have the defaults of the operation and of the schema.
	defaults bool

	declared ast.VariableDefinitionList
	open     map[string]bool
	left     int
}

// cost is that of the most expensive operation.
func (w *walker) cost(quantified bool) (cost float64, err error) {
	w.left = maxSelections
	for _, operation := range w.operations {
		w.declared, w.open = operation.VariableDefinitions, make(map[string]bool)
		typ := w.schema.root(operation.Operation)
		live := w.decorations.begin(typ)
		of := 0.0
		if quantified {
			of = w.quantified(operation.SelectionSet, typ, live, 1)
		} else {
			// The operation is a field of its own.
			of = w.complexity(operation.SelectionSet, typ, live) + 1
		}
		cost = max(cost, of)
		if w.left < 0 {
			return 0, errMany
		}
	}
	return cost, nil
}

// complexity of a selection set: each field costs what it selects times its factor, and its own cost.
func (w *walker) complexity(set ast.SelectionSet, typ string, live []*decoration) (sum float64) {
	w.fields(set, typ, live, func(f *ast.Field, at position) {
		add, mul, _ := w.weights(f, at)
		sum += w.complexity(f.SelectionSet, at.typ, at.live)*mul + add
	})
	return sum
}

// quantified is the cost of those fields alone that have an argument saying how many: as often as they are resolved.
func (w *walker) quantified(set ast.SelectionSet, typ string, live []*decoration, times float64) (sum float64) {
	w.fields(set, typ, live, func(f *ast.Field, at position) {
		add, mul, counts := w.weights(f, at)
		below := times
		if counts {
			sum += times * add
			below *= mul
		}
		sum += w.quantified(f.SelectionSet, at.typ, at.live, below)
	})
	return sum
}

// position is where in the schema a field is: its own type, what of the decorations' paths goes on below it, and its weight.
type position struct {
	typ    string
	live   []*decoration
	weight *weight
	field  *schemaField
}

// fields calls visit for each field of a selection set, those of fragments among them. A fragment's condition narrows the
// type where the schema knows it.
func (w *walker) fields(set ast.SelectionSet, typ string, live []*decoration, visit func(f *ast.Field, at position)) {
	for _, selection := range set {
		if w.left--; w.left < 0 {
			return
		}
		switch s := selection.(type) {
		case *ast.Field:
			at := position{field: w.schema.field(typ, s.Name)}
			if at.field != nil {
				at.typ = at.field.typ
			}
			at.live, at.weight = w.decorations.step(live, typ, at.typ, s.Name)
			visit(s, at)
		case *ast.InlineFragment:
			w.fields(s.SelectionSet, w.schema.narrow(typ, s.TypeCondition), live, visit)
		case *ast.FragmentSpread:
			// A circle ends where it begins; spreading twice costs twice.
			if fragment := w.fragments[s.Name]; fragment != nil && !w.open[s.Name] {
				w.open[s.Name] = true
				w.fields(fragment.SelectionSet, w.schema.narrow(typ, fragment.TypeCondition), live, visit)
				delete(w.open, s.Name)
			}
		}
	}
}

// weights are what a field's decoration makes of its arguments. counts says that one of them says how many.
func (w *walker) weights(f *ast.Field, at position) (add, mul float64, counts bool) {
	add, mul = 1, 1
	if at.weight == nil {
		return add, mul, false
	}
	if at.weight.AddValue != nil {
		add = *at.weight.AddValue
	}
	if at.weight.MulValue != nil {
		mul = *at.weight.MulValue
	}
	for _, name := range at.weight.AddArguments {
		if value, ok := w.argument(f, name, at.field); ok {
			add += value
		}
	}
	for _, name := range at.weight.MulArguments {
		if value, ok := w.argument(f, name, at.field); ok {
			mul *= value
			counts = true
		}
	}
	return add, mul, counts
}

// argument reads an argument that is a number. Nobody gets cheaper by a negative one.
func (w *walker) argument(f *ast.Field, name string, field *schemaField) (float64, bool) {
	value, there := "", false
	if argument := f.Arguments.ForName(name); argument != nil {
		value, there = w.value(argument.Value)
	}
	if !there && w.defaults && field != nil {
		value, there = field.defaults[name]
	}
	number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if !there || err != nil {
		return 0, false
	}
	return max(0, number), true
}

// value is the text of a scalar.
func (w *walker) value(v *ast.Value) (text string, there bool) {
	if v == nil {
		return "", false
	}
	switch v.Kind {
	case ast.IntValue, ast.FloatValue, ast.StringValue, ast.BlockValue:
		return v.Raw, true
	case ast.Variable:
		switch given := w.variables[v.Raw].(type) {
		case json.Number:
			return given.String(), true
		case string:
			return given, true
		}
		if _, given := w.variables[v.Raw]; given || !w.defaults {
			return "", false
		}
		at := slices.IndexFunc(w.declared, func(d *ast.VariableDefinition) bool { return d.Variable == v.Raw })
		if at >= 0 && w.declared[at].DefaultValue != nil && w.declared[at].DefaultValue.Kind != ast.Variable {
			return w.value(w.declared[at].DefaultValue)
		}
	}
	return "", false
}
