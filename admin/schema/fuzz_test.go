// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"errors"
	"reflect"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// FuzzCheck holds, for any document: nothing panics, nothing changes the value, what satisfies a schema still does once
// it is filled, and filling it again adds nothing.
func FuzzCheck(f *testing.F) {
	for _, e := range examples(f) {
		kind, _ := kindOf(e.Path)
		for i := range gateway.Kinds {
			if gateway.Kinds[i] == kind && len(e.Body) < 1000 {
				f.Add(byte(i), []byte(e.Body))
			}
		}
	}
	f.Add(byte(0), []byte(`{"id":"vault/1","uri":"$env://A"}`))
	f.Fuzz(func(t *testing.T, index byte, body []byte) {
		value, err := Decode(body)
		if err != nil {
			return
		}
		before := deepCopy(value)
		kind := gateway.Kinds[int(index)%len(gateway.Kinds)]
		checked := Check(kind, value)
		if _, ok := errors.AsType[*gateway.Refusal](checked); checked != nil && !ok {
			t.Errorf("%s %s: %T is no refusal", kind, body, checked)
		}
		_ = CheckForbidden(value)
		_, _ = CheckID(kind, "1", value, false)
		if schema := ForKind(kind); schema != nil {
			filled := schema.Fill(value)
			if schema.Validate(value) == nil {
				if err := schema.Validate(filled); err != nil {
					t.Errorf("%s %s: filled %s: %v", kind, body, inJSON(filled), err)
				}
				if again := schema.Fill(filled); !reflect.DeepEqual(again, filled) {
					t.Errorf("%s %s: filled %s, again %s", kind, body, inJSON(filled), inJSON(again))
				}
			}
		}
		if !reflect.DeepEqual(value, before) {
			t.Errorf("%s %s: became %s", kind, body, inJSON(value))
		}
	})
}

// FuzzProto holds that source, which is read byte by byte, is read to its end whatever it is.
func FuzzProto(f *testing.F) {
	f.Add(`syntax = "proto3"; package p; message M { string a = 1; }`)
	f.Add(`import "google/protobuf/any.proto"; option a = { b: "\"" };`)
	f.Add(`/* // */ service S { rpc M(A) returns (B) {} }`)
	f.Fuzz(func(_ *testing.T, source string) { _ = checkProto(map[string]any{"content": source}) })
}
