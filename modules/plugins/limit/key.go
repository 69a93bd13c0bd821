// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
)

// Keyer reads from a request whom it counts for: APISIX's `key` and `key_type`. It is immutable.
type Keyer struct {
	read     expr.Var
	template *expr.Template
	constant string
}

// NewKeyer compiles a key. kind is var, var_combination or constant.
func NewKeyer(kind, key string) Keyer {
	switch kind {
	case "var_combination":
		return Keyer{template: expr.ParseTemplate(key)}
	case "constant":
		return Keyer{constant: key}
	}
	return Keyer{read: expr.Variable(key)}
}

// Append appends the key's text to dst. ok is false when none of its variables is there.
func (k *Keyer) Append(dst []byte, x *gateway.Exchange) (text []byte, ok bool) {
	switch {
	case k.template != nil:
		return k.template.AppendResolved(dst, x)
	case k.read != nil:
		value, ok := k.read(x)
		return append(dst, value...), ok
	}
	return append(dst, k.constant...), true
}

// AppendOrClient is Append, with the client's address in the place of a key that is not there.
func (k *Keyer) AppendOrClient(dst []byte, x *gateway.Exchange) []byte {
	text, ok := k.Append(dst, x)
	if !ok {
		return append(dst, x.Request.ClientIP()...)
	}
	return text
}
