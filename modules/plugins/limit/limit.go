// SPDX-License-Identifier: Apache-2.0

// Package limit is what the plugins that limit traffic share: whom a request counts for, tables of counters that hold a
// million keys in bounded memory, and clients of Redis.
package limit

import (
	"encoding/json"
	"hash/maphash"
	"strings"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// Key stands for one counter in a [Table]. It is a keyed hash: nobody outside can choose two texts with the same key, and
// of a million random ones the odds that any two meet are one to 10^26.
type Key struct{ a, b uint64 }

var seedA, seedB = maphash.MakeSeed(), maphash.MakeSeed()

// Scope is what the counters of one config have in common. It is immutable. Equal texts are equal scopes for as long as
// the process lives, so counters survive whatever compiles a config again.
type Scope struct {
	key  Key
	text string
}

// NewScope returns the scope of that text.
func NewScope(text string) Scope {
	return Scope{Key{maphash.String(seedA, text), maphash.String(seedB, text)}, text}
}

// Key returns the key of a counter in the scope.
func (s *Scope) Key(text string) Key {
	return Key{maphash.String(seedB, text) ^ s.key.a, maphash.String(seedA, text) ^ s.key.b}
}

// KeyOf is Key for a text in bytes.
func (s *Scope) KeyOf(text []byte) Key {
	return Key{maphash.Bytes(seedB, text) ^ s.key.a, maphash.Bytes(seedA, text) ^ s.key.b}
}

// Text returns what a counter is called where it is shared with other gateways.
func (s *Scope) Text(key string) string { return s.text + ":" + key }

// Owned is the text of the scope of a config's counters, as APISIX makes it: the owner of the config and the version of
// the config, so that changing the config starts anew and changing anything else around it does not.
func Owned(env gateway.Env, config json.RawMessage) string {
	return env.Owner + ":" + version(config)
}

// Nanoseconds since 1970 at the start of the process, and the same moment on the clock that is never set.
var (
	processStart = time.Now()
	startUnix    = processStart.UnixNano()
)

// Now returns when the request came, in nanoseconds since 1970, by a clock that nobody sets back or forth while the process
// lives. The exchange knows it already: no clock is read.
func Now(x *gateway.Exchange) int64 {
	if x.Start.IsZero() {
		return Clock()
	}
	return startUnix + int64(x.Start.Sub(processStart))
}

// Clock reads the clock of [Now].
func Clock() int64 { return startUnix + int64(time.Since(processStart)) }

// Rejection is how a limit ends a request.
type Rejection struct {
	Code int
	Body []byte
}

// NewRejection makes the answer of `rejected_code` and `rejected_msg`: a status page, or the message as JSON.
func NewRejection(code int, message string) (Rejection, error) {
	if message == "" {
		return Rejection{Code: code}, nil
	}
	var body strings.Builder
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(struct {
		Message string `json:"error_msg"`
	}{message})
	return Rejection{Code: code, Body: []byte(body.String())}, err
}

// Exit ends the exchange.
func (r *Rejection) Exit(x *gateway.Exchange) gateway.Verdict { return x.Exit(r.Code, r.Body) }
