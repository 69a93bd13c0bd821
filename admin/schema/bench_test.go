// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

const typicalRoute = `{"id":"1","name":"orders","uri":"/orders/*","methods":["GET","POST"],"hosts":["a.com","*.b.com"],
	"labels":{"team":"shop"},"vars":[["arg_v","==","2"]],"plugins":{"key-auth":{},"limit-count":{"count":2,"time_window":60}},
	"upstream":{"type":"roundrobin","nodes":{"10.0.0.1:80":1,"10.0.0.2:80":1},"timeout":{"connect":1,"send":1,"read":1}},
	"create_time":1700000000,"update_time":1700000000}`

func BenchmarkDecode(b *testing.B) {
	raw := []byte(typicalRoute)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckRoute(b *testing.B) {
	route := decode(b, typicalRoute)
	b.ReportAllocs()
	for b.Loop() {
		if err := Check(gateway.Routes, route); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRefuseRoute(b *testing.B) {
	route := decode(b, typicalRoute)
	route.(map[string]any)["upstream"].(map[string]any)["retries"] = -1
	b.ReportAllocs()
	for b.Loop() {
		if err := Check(gateway.Routes, route); err == nil {
			b.Fatal("accepted")
		}
	}
}

func BenchmarkFillRoute(b *testing.B) {
	route := decode(b, typicalRoute)
	schema := ForKind(gateway.Routes)
	b.ReportAllocs()
	for b.Loop() {
		schema.Fill(route)
	}
}

func BenchmarkCompileRoute(b *testing.B) {
	raw := ForKind(gateway.Routes).Raw()
	for b.Loop() {
		if _, err := Compile(raw); err != nil {
			b.Fatal(err)
		}
	}
}
