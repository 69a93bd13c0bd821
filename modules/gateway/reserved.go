// SPDX-License-Identifier: Apache-2.0

package gateway

// IsReserved reports whether a node might read name as a field that the gateway alone sets. A wire passes no request
// trailer of such a name on: many nodes merge trailers into the header.
func IsReserved(name string) bool {
	if isIdentityField(name) {
		return true
	}
	for _, field := range forwardedFields {
		if equalAlias(name, field) {
			return true
		}
	}
	return false
}

// forwardedFields say where a request came from.
var forwardedFields = [...]string{
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Real-IP",
}
