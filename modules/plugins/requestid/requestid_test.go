// SPDX-License-Identifier: Apache-2.0

package requestid

import (
	"math/big"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{}`, ""},
		{`{"algorithm":"nanoid","header_name":"X-Corr","include_in_response":false}`, ""},
		{`{"algorithm":"range_id","range_id":{"char_set":"aabbcc","length":6}}`, ""},
		{`{"algorithm":"snowflake"}`, `property "algorithm" validation failed: matches none of the enum values`},
		{`{"algorithm":"range_id","range_id":{"char_set":"abc"}}`, `property "range_id" validation failed: property "char_set" validation failed: string too short, expected at least 6, got 3`},
		{`{"range_id":{"length":5}}`, `property "range_id" validation failed: property "length" validation failed: expected 5 to be at least 6`},
		{`{"algorithm":"range_id","range_id":{"length":5000}}`, `property "range_id" validation failed: property "length" validation failed: expected 5000 to be at most 4096`},
		{`{"algorithm":"range_id","range_id":{"char_set":"abcdef\n"}}`, `property "range_id" validation failed: property "char_set" validation failed: `},
		{`{"header_name":"a b"}`, `property "header_name" validation failed: "a b" is no name of a field`},
	})
}

// TestAlgorithms looks at the form of ids, and that no two are alike.
func TestAlgorithms(t *testing.T) {
	for config, form := range map[string]string{
		`{}`:                       `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
		`{"algorithm":"uuid"}`:     `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
		`{"algorithm":"uuidv7"}`:   `^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
		`{"algorithm":"nanoid"}`:   `^[0-9A-Za-z_-]{21}$`,
		`{"algorithm":"ksuid"}`:    `^[0-9A-Za-z]{27}$`,
		`{"algorithm":"range_id"}`: `^[0-9A-Za-z]{16}$`,
		`{"algorithm":"range_id","range_id":{"char_set":"0123456789","length":40}}`: `^[0-9]{40}$`,
	} {
		x := plugintest.Open(t, `{"request-id":`+config+`,"key-auth":{}}`)
		seen := make(map[string]bool)
		for range 1000 {
			x.Run(nil)
			id := strings.Clone(x.Request.Header.Get("X-Request-Id"))
			if !regexp.MustCompile(form).MatchString(id) || seen[id] || x.Response.Header.Get("X-Request-Id") != id {
				t.Fatalf("%s: got %q (seen: %v) and told the client %q; want the form %s", config, id, seen[id], x.Response.Header.Get("X-Request-Id"), form)
			}
			seen[id] = true
		}
	}
}

// TestTimes reads the time out of the ids that carry it.
func TestTimes(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_123)
	digits := strings.ReplaceAll(uuid7(now), "-", "")[:12]
	if millis, ok := new(big.Int).SetString(digits, 16); !ok || millis.Int64() != now.UnixMilli() {
		t.Errorf("uuidv7: got %s, want the time %d", digits, now.UnixMilli())
	}
	number := new(big.Int)
	for _, c := range []byte(ksuid(now)) {
		number.Mul(number, big.NewInt(62)).Add(number, big.NewInt(int64(strings.IndexByte(base62Digits, c))))
	}
	if seconds := new(big.Int).Rsh(number, 128).Int64(); seconds != now.Unix()-ksuidEpoch {
		t.Errorf("ksuid: got %d, want the time %d", seconds, now.Unix()-ksuidEpoch)
	}
	// The highest KSUID there is, from its specification.
	if got := base62(&[5]uint32{1<<32 - 1, 1<<32 - 1, 1<<32 - 1, 1<<32 - 1, 1<<32 - 1}); got != "aWgEPTl1tmebfsQzFP4bxwgy80V" {
		t.Errorf("ksuid: got %s for the highest number", got)
	}
}

func TestAllocs(t *testing.T) {
	x := plugintest.Open(t, `{"request-id":{},"key-auth":{}}`)
	// The id itself.
	x.WantAllocs(t, gateway.StepReply, 1, nil)
	x.WantAllocs(t, gateway.StepReply, 0, func(x *gateway.Exchange) { x.Request.Header.Add("X-Request-Id", "mine") })
}

func BenchmarkGenerate(b *testing.B) {
	for name, generate := range generators {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				generate()
			}
		})
	}
}
