// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNormalizeKeepsWhatWasSent(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"white space goes", " {\t\"b\" : [ 1 , 2 ] ,\r\n \"a\":{ } } ", `{"b":[1,2],"a":{}}`},
		{"numbers stay", `[1e400,100000000000000000001,1.0,-0,1E+2]`, `[1e400,100000000000000000001,1.0,-0,1E+2]`},
		{"escapes stay", `"\u00e9\/\n\ud83d\ude00<"`, `"\u00e9\/\n\ud83d\ude00<"`},
		{"control characters", "\"a\nb\x01\"", `"a\u000ab\u0001"`},
		{"last of one name", `{"a":1,"b":2,"a":3}`, `{"b":2,"a":3}`},
		{"three of one name", `{"a":1,"a":2,"a":3}`, `{"a":3}`},
		{"one name in two spellings", `{"a":1,"\u0061":2}`, `{"\u0061":2}`},
		{"nested in what is dropped", `{"x":{"a":1,"a":2},"x":{"b":[{"c":1,"c":2}]}}`, `{"x":{"b":[{"c":2}]}}`},
		{"nested in what stays", `{"x":0,"x":{"a":1,"a":2},"y":{"z":1,"z":2}}`, `{"x":{"a":2},"y":{"z":2}}`},
		{"scalar", ` true `, `true`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := normalize([]byte(c.in))
			if err != nil || string(got) != c.want {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestNormalizeManyMembers(t *testing.T) {
	var in, want strings.Builder
	in.WriteByte('{')
	want.WriteByte('{')
	for i := range 1000 {
		name := string(quote(strings.Repeat("k", i%100+1)))
		if i > 0 {
			in.WriteByte(',')
		}
		in.WriteString(name + ":" + string(unixTime(testTime)))
		if i >= 900 {
			if i > 900 {
				want.WriteByte(',')
			}
			want.WriteString(name + ":" + string(unixTime(testTime)))
		}
	}
	in.WriteByte('}')
	want.WriteByte('}')
	got, err := normalize([]byte(in.String()))
	if err != nil || string(got) != want.String() {
		t.Errorf("got %s, %v, want the last hundred members", got, err)
	}
}

func TestNormalizeErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{bad`, "Expected object key string but found invalid token at character 2"},
		{``, "Expected value but found T_END at character 1"},
		{`{`, "Expected object key string but found T_END at character 2"},
		{`{"a"}`, "Expected colon but found T_OBJ_END at character 5"},
		{`{"a":1`, "Expected comma or object end but found T_END at character 7"},
		{`{"a":1,}`, "Expected object key string but found T_OBJ_END at character 8"},
		{`{"a":}`, "Expected value but found T_OBJ_END at character 6"},
		{`[1 2]`, "Expected comma or array end but found T_NUMBER at character 4"},
		{`[1,]`, "Expected value but found T_ARR_END at character 4"},
		{`{} {}`, "Expected the end but found T_OBJ_BEGIN at character 4"},
		{`"abc`, "Expected value but found unexpected end of string at character 5"},
		{"\"a\x00\"", "Expected value but found unexpected end of string at character 3"},
		{`"a\x"`, "Expected value but found invalid escape code at character 3"},
		{`"\ud800"`, "Expected value but found invalid unicode escape code at character 2"},
		{`"\udc00\ud800"`, "Expected value but found invalid unicode escape code at character 2"},
		{`"\u12"`, "Expected value but found invalid unicode escape code at character 2"},
		{`{"a":01}`, "Expected value but found invalid number at character 6"},
		{`{"a":1.}`, "Expected value but found invalid number at character 6"},
		{`{"a":nul}`, "Expected value but found invalid token at character 6"},
		{strings.Repeat("[", 1001), "Found too many nested data structures (1001) at character 1001"},
	} {
		if got, err := normalize([]byte(c.in)); err == nil || err.Error() != c.want {
			t.Errorf("%.40q: got %s, %v, want %s", c.in, got, err, c.want)
		}
	}
	deepest := strings.Repeat("[", 1000) + strings.Repeat("]", 1000)
	if _, err := normalize([]byte(deepest)); err != nil {
		t.Errorf("a depth of 1000: %v", err)
	}
}

// FuzzNormalize compares with encoding/json, which reads the same documents but for those that are named here.
func FuzzNormalize(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"b":[true,null,"x\u00e9"],"a":{"c":1e400}}`, `[]`, `"\ud83d\ude00"`, "{\"a\n\":1}", `{"a":1,"\u0061":2}`, ` -0.5e+3 `,
		`{"x":0,"x":{"a":1,"a":2},"y":{"z":1,"z":2}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, err := normalize(doc)
		if err != nil {
			// encoding/json takes half of a surrogate pair and deeper documents.
			if json.Valid(doc) && !bytes.Contains(doc, []byte(`\u`)) && bytes.Count(doc, []byte("["))+bytes.Count(doc, []byte("{")) <= maxDepth {
				t.Fatalf("%q is refused: %v", doc, err)
			}
			return
		}
		if !json.Valid(got) {
			t.Fatalf("%q became %q", doc, got)
		}
		again, err := normalize(got)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%q is not stable: %q, %v", got, again, err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, got); err != nil || !bytes.Equal(compact.Bytes(), got) {
			t.Fatalf("%q is not compact: %q, %v", got, compact.Bytes(), err)
		}
		if !json.Valid(doc) {
			// Only what stands raw in strings makes the difference.
			if !bytes.ContainsFunc(doc, func(r rune) bool { return r < ' ' }) {
				t.Fatalf("%q is taken", doc)
			}
			return
		}
		if utf8.Valid(doc) && !reflect.DeepEqual(decode(t, doc), decode(t, got)) {
			t.Fatalf("%q changed its meaning: %q", doc, got)
		}
	})
}

// FuzzFields takes documents apart and looks members up, next to encoding/json.
func FuzzFields(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{"c":[1,{"d":"}"}],"":2}}`), "b", "c")
	f.Add([]byte("{ \"a\" : \"x\\\"\" ,\n\"b\" : { } }"), "a", "")
	f.Fuzz(func(t *testing.T, doc []byte, first, second string) {
		if !json.Valid(doc) || !utf8.Valid(doc) || !utf8.ValidString(first) || !utf8.ValidString(second) {
			return
		}
		whole, isMap := decode(t, doc).(map[string]any)
		if !isMap {
			if lookup(doc, first) != nil {
				t.Fatalf("%q has no members", doc)
			}
			return
		}
		compareLookup(t, doc, whole, first)
		if inner, ok := whole[first].(map[string]any); ok {
			compareLookup(t, lookup(doc, first), inner, second)
		}
		fs := parseFields(doc)
		if !reflect.DeepEqual(decode(t, fs.text()), any(whole)) {
			t.Fatalf("%q became %q", doc, fs.text())
		}
		fs.set(first, []byte(`{"new":1}`))
		whole[first] = map[string]any{"new": json.Number("1")}
		fs.remove(second)
		delete(whole, second)
		if !reflect.DeepEqual(decode(t, fs.text()), any(whole)) {
			t.Fatalf("%q after edits of %q and %q: %q", doc, first, second, fs.text())
		}
	})
}

func compareLookup(t *testing.T, doc []byte, whole map[string]any, name string) {
	t.Helper()
	want, has := whole[name]
	got := lookup(doc, name)
	if (got != nil) != has || has && !reflect.DeepEqual(decode(t, got), want) {
		t.Fatalf("%q of %q: got %q, want %v", name, doc, got, want)
	}
}

// decode reads a document as encoding/json does, numbers as text.
func decode(t *testing.T, doc []byte) any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(doc))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("decode %q: %v", doc, err)
	}
	return value
}

// FuzzMerge compares with a merge of decoded values.
func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1,"c":2},"d":[1]}`), []byte(`{"a":{"b":null,"e":{"f":null}},"d":{"x":1},"g":null}`))
	f.Fuzz(func(t *testing.T, object, patch []byte) {
		object, err := normalize(object)
		if err != nil || !isObject(object) || !utf8.Valid(object) {
			return
		}
		patch, err = normalize(patch)
		if err != nil || !isObject(patch) || !utf8.Valid(patch) {
			return
		}
		want := naiveMerge(decode(t, object).(map[string]any), decode(t, patch).(map[string]any))
		if got := merge(object, patch); !reflect.DeepEqual(decode(t, got), any(want)) {
			t.Fatalf("%s with %s: got %s, want %v", object, patch, got, want)
		}
	})
}

func naiveMerge(object, patch map[string]any) map[string]any {
	for name, value := range patch {
		old, isOld := object[name].(map[string]any)
		new, isNew := value.(map[string]any)
		switch {
		case value == nil:
			delete(object, name)
		case isOld && isNew && len(old) > 0:
			object[name] = naiveMerge(old, new)
		default:
			object[name] = value
		}
	}
	return object
}

func BenchmarkNormalize(b *testing.B) {
	doc := []byte(`{"uri": "/api/*", "methods": ["GET", "POST"], "upstream": {"type": "roundrobin", "nodes": {"127.0.0.1:8080": 1}}, "plugins": {"key-auth": {}}}`)
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := normalize(doc); err != nil {
			b.Fatal(err)
		}
	}
}
