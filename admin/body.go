// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

const (
	// maxBody bounds the body of a request, in bytes.
	maxBody = 1_572_864
	// maxDiscarded bounds how much of a body that is too long is read away, so that its sender gets to see the answer.
	maxDiscarded = 64 << 20
)

// readBody returns the JSON document in the body, without white space, or nil when the body is empty.
func readBody(r *http.Request) ([]byte, error) {
	raw, err := readAll(r)
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	doc, err := normalize(raw)
	if err != nil {
		return nil, &problem{status: http.StatusBadRequest, members: []member{
			{"error_msg", "invalid request body: " + err.Error()}, {"req_body", string(raw)},
		}}
	}
	return doc, nil
}

func readAll(r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err == nil && len(raw) > maxBody {
		var more int64
		more, err = io.Copy(io.Discard, io.LimitReader(r.Body, maxDiscarded))
		size := max(int64(len(raw))+more, r.ContentLength)
		if err == nil {
			return nil, badRequest(fmt.Sprintf("invalid request body: request size %d is greater than the maximum size %d allowed", size, maxBody))
		}
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, badRequest(fmt.Sprintf("invalid request body: request size is greater than the maximum size %d allowed", tooLarge.Limit))
	}
	if err != nil {
		return nil, badRequest("invalid request body: " + err.Error())
	}
	return raw, nil
}
