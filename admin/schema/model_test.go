// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/andogate/ando/modules/gateway"
)

// TestAgreesWithLibrary holds the walk against the library's own validator, on the schemas of APISIX's plugins and of
// the resources, with the recorded bodies and random changes of them. Where the two differ by intent (defaults, empty
// tables, references to secrets) the value is filled first, and has neither of the others.
func TestAgreesWithLibrary(t *testing.T) {
	cases := modelCases(t)
	random := rand.New(rand.NewPCG(1, 2))
	valid, invalid := 0, 0
	for range 10000 {
		c := cases[random.IntN(len(cases))]
		value := deepCopy(c.value)
		for range random.IntN(3) {
			value = mutate(random, value)
		}
		if unlike(value) {
			continue
		}
		filled := c.schema.Fill(value)
		got, want := c.schema.Validate(value), c.library.Validate(filled)
		if (got == nil) != (want == nil) {
			t.Fatalf("%s\nas %s\non %s:\n    got %v\nlibrary %v", inJSON(value), inJSON(filled), c.schema.Raw(), got, want)
		}
		if got == nil {
			valid++
		} else {
			invalid++
		}
	}
	if valid < 500 || invalid < 500 {
		t.Errorf("%d valid, %d invalid: not much of a test", valid, invalid)
	}
}

type modelCase struct {
	schema  *Schema
	library *jsonschema.Schema
	value   any
}

func modelCases(t *testing.T) []modelCase {
	t.Helper()
	plugins := recordedPlugins(t)
	libraries := map[*Schema]*jsonschema.Schema{}
	var cases []modelCase
	add := func(schema *Schema, value any) {
		if libraries[schema] == nil {
			libraries[schema] = libraryOf(t, schema.Raw())
		}
		cases = append(cases, modelCase{schema, libraries[schema], value})
	}
	for _, e := range examples(t) {
		kind, id := kindOf(e.Path)
		object, ok := bodyOf(t, e, kind, id)
		if !ok || kind == gateway.Secrets {
			continue
		}
		add(ForKind(kind), object)
		for _, c := range pluginsOf(object.(map[string]any), kind, plugins) {
			add(c.schema, c.config)
		}
	}
	return cases
}

func libraryOf(t *testing.T, raw json.RawMessage) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	c.UseRegexpEngine(compileRegexp)
	if err := c.AddResource("schema:///", doc); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("schema:///")
}

// strange are values that take the place of others.
var strange = []string{
	`null`, `true`, `0`, `-1`, `1.5`, `99999`, `""`, `"text"`, `"http://a"`, `"10.0.0.1"`, `["a"]`, `[1,1]`, `{"a":1}`,
	`{"host":"a","port":1,"weight":1}`, `"GET"`, `"redis"`,
}

// mutate changes one thing in value, at random.
func mutate(random *rand.Rand, value any) any {
	switch value := value.(type) {
	case map[string]any:
		names := slices.Sorted(maps.Keys(value))
		names = append(append(names, names...), "uri", "uris", "host", "policy", "rules", "count", "key", "type", "plugins")
		name := names[random.IntN(len(names))]
		switch old, ok := value[name]; {
		case !ok:
			value[name] = strangeValue(random)
		case random.IntN(4) == 0:
			delete(value, name)
		default:
			value[name] = mutate(random, old)
		}
		return value
	case []any:
		if len(value) == 0 || random.IntN(4) == 0 {
			return append(value, strangeValue(random))
		}
		i := random.IntN(len(value))
		value[i] = mutate(random, value[i])
		return value
	}
	return strangeValue(random)
}

func strangeValue(random *rand.Rand) any {
	value, err := Decode([]byte(strange[random.IntN(len(strange))]))
	if err != nil {
		panic(err)
	}
	return value
}

// unlike reports whether value has something in it that the two validators see differently.
func unlike(value any) bool {
	switch value := value.(type) {
	case map[string]any:
		for _, v := range value {
			if unlike(v) {
				return true
			}
		}
		return len(value) == 0
	case []any:
		for _, v := range value {
			if unlike(v) {
				return true
			}
		}
		return len(value) == 0
	case string:
		return isReference(value)
	}
	return false
}
