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
