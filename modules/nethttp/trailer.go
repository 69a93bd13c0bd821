// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"net/http"
	"slices"

	"github.com/andogate/ando/modules/gateway"
)

// announceTrailers makes the header say which trailers the node has announced.
func announceTrailers(h *gateway.Header, trailer http.Header) {
	h.Del("Trailer")
	for name := range trailer {
		if !framingField(name) {
			h.Add("Trailer", name)
		}
	}
}

// takeTrailers takes over the trailers that have come.
func takeTrailers(into *gateway.Header, trailer http.Header) {
	into.Reset()
	for name, values := range trailer {
		if framingField(name) {
			continue
		}
		for _, value := range values {
			into.Add(name, value)
		}
	}
}

// sendTrailers sends the trailers; those that were not announced too.
func sendTrailers(header http.Header, trailer *gateway.Header) {
	listed := header["Trailer"]
	for name, value := range trailer.All() {
		name = http.CanonicalHeaderKey(name)
		if !slices.Contains(listed, name) {
			name = http.TrailerPrefix + name
		}
		header[name] = append(header[name], value)
	}
}
