// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
)

// maxNumber is the highest number that APISIX takes: beyond it a double has no integers.
const maxNumber = 1<<53 - 1

// Number is an integer of a config, or text with variables that gives one for each request. It is immutable; the zero
// value is 0.
type Number struct {
	value    int64
	known    bool
	template *expr.Template
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *Number) UnmarshalJSON(raw []byte) error {
	*n = Number{}
	if len(raw) == 0 || raw[0] != '"' {
		n.value, n.known = parseNumber(string(raw))
		return nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return err
	}
	template := expr.ParseTemplate(text)
	if constant, ok := template.Const(); ok {
		n.value, n.known = parseNumber(constant)
		return nil
	}
	n.template = template
	return nil
}

// Of returns the number for a request. ok is false when it is no integer from low to 2^53-1.
func (n *Number) Of(x *gateway.Exchange, low int64) (value int64, ok bool) {
	value, ok = n.value, n.known
	if n.template != nil {
		value, ok = parseNumber(n.template.String(x))
	}
	return value, ok && value >= low
}

// Constant returns the number of a config without variables, and whether it is one.
func (n *Number) Constant() (value int64, ok bool) { return n.value, n.known }

// parseNumber reads an integer as Lua's tonumber does, but for hexadecimal ones.
func parseNumber(text string) (int64, bool) {
	text = strings.TrimSpace(text)
	if value, err := strconv.ParseInt(text, 10, 64); err == nil {
		return value, value <= maxNumber
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || value != math.Trunc(value) || math.Abs(value) > maxNumber {
		return 0, false
	}
	return int64(value), true
}
