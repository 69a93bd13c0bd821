// SPDX-License-Identifier: Apache-2.0

package batchrequests

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/reply"
)

// appendResponse appends what became of one request: its status, the reason, the fields, and the body where there can be one.
func appendResponse(b []byte, method string, r *gateway.Subresponse) []byte {
	b = appendStatus(b, r.Status, http.StatusText(r.Status))
	b = append(b, `,"headers":`...)
	b = appendFields(b, &r.Header)
	if method != http.MethodHead && r.Status != http.StatusNoContent && r.Status != http.StatusNotModified {
		b = append(b, `,"body":`...)
		b = reply.AppendText(b, string(r.Body))
	}
	return append(b, '}')
}

// appendFailure appends what stands for a response that there is not.
func appendFailure(b []byte, err error) []byte {
	status, reason := http.StatusBadGateway, err.Error()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		// APISIX's text.
		status, reason = http.StatusGatewayTimeout, "upstream timeout"
	case errors.Is(err, gateway.ErrMalformed):
		status = http.StatusBadRequest
	}
	return append(appendStatus(b, status, reason), '}')
}

func appendStatus(b []byte, status int, reason string) []byte {
	b = append(b, `{"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"reason":`...)
	return reply.AppendText(b, reason)
}

// appendFields appends a header as an object in which a name that is there more than once has a list, by name.
func appendFields(b []byte, h *gateway.Header) []byte {
	names := make([]string, 0, h.Len())
	for name := range h.All() {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, strings.Compare)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(reply.AppendText(b, name), ':')
		values := slices.Collect(h.Values(name))
		if len(values) == 1 {
			b = reply.AppendText(b, values[0])
			continue
		}
		for i, value := range values {
			b = append(b, "[,"[min(i, 1)])
			b = reply.AppendText(b, value)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}
