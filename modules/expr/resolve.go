// SPDX-License-Identifier: Apache-2.0

package expr

import "github.com/andogate/ando/modules/gateway"

// Resolve is String, and says whether any of the variables was there. A hash of the text around absent variables would be
// the same for everybody.
func (t *Template) Resolve(x *gateway.Exchange) (text string, ok bool) {
	for i := range t.parts {
		if read := t.parts[i].read; read != nil {
			if value, there := read(x); there && value != "" {
				return t.String(x), true
			}
		}
	}
	return "", false
}

// AppendResolved is Resolve into memory of the caller's: it appends the text to dst, and returns dst as it was when none of
// the variables was there.
func (t *Template) AppendResolved(dst []byte, x *gateway.Exchange) (text []byte, ok bool) {
	from := len(dst)
	for i := range t.parts {
		part := &t.parts[i]
		if part.read == nil {
			dst = append(dst, part.text...)
			continue
		}
		value, there := part.read(x)
		ok = ok || there && value != ""
		dst = append(dst, value...)
	}
	if !ok {
		return dst[:from], false
	}
	return dst, true
}
