// SPDX-License-Identifier: Apache-2.0

package fields

import (
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
)

// value is the text of a field with variables and groups in it. Nearly all have one part.
type value struct{ parts []part }

// part is text with variables or, where that is nil, a group.
type part struct {
	template *expr.Template
	group    int
}

// parseValue splits off the groups, $1 or ${1}; "\$" is a dollar sign.
func parseValue(text string) value {
	var v value
	start := 0
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' {
			i++
			continue
		}
		if text[i] != '$' {
			continue
		}
		group, n := groupNumber(text[i+1:])
		if n == 0 {
			continue
		}
		if start < i {
			v.parts = append(v.parts, part{template: expr.ParseTemplate(text[start:i])})
		}
		v.parts = append(v.parts, part{group: group})
		i += n
		start = i + 1
	}
	if start < len(text) || len(v.parts) == 0 {
		v.parts = append(v.parts, part{template: expr.ParseTemplate(text[start:])})
	}
	return v
}

// groupNumber reads "1" or "{1}" and says how long that is; 0 is no number.
func groupNumber(text string) (group, length int) {
	digits, braces := text, 0
	if strings.HasPrefix(text, "{") {
		digits, braces = text[1:], 1
	}
	n := 0
	for n < len(digits) && n < 3 && '0' <= digits[n] && digits[n] <= '9' {
		group = 10*group + int(digits[n]-'0')
		n++
	}
	if n == 0 || braces > 0 && !strings.HasPrefix(digits[n:], "}") {
		return 0, 0
	}
	return group, n + 2*braces
}

func (v *value) text(x *gateway.Exchange, m Match) string {
	if len(v.parts) == 1 && v.parts[0].template != nil {
		return clean(v.parts[0].template.String(x))
	}
	var b []byte
	for i := range v.parts {
		p := &v.parts[i]
		if p.template != nil {
			b = p.template.Append(b, x)
		} else if at := 2 * p.group; at+1 < len(m.Groups) && m.Groups[at] >= 0 {
			b = append(b, m.Text[m.Groups[at]:m.Groups[at+1]]...)
		}
	}
	return clean(string(b))
}

// clean makes a value of text in which variables may have brought along what no value holds: a line end would begin another
// field (RFC 9110 section 5.5).
func clean(text string) string {
	if httpguts.ValidHeaderFieldValue(text) {
		return text
	}
	b := []byte(text)
	for i, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}
