// SPDX-License-Identifier: Apache-2.0

package gatewaytest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// decode puts the body in the place of its encoded form. The fields stay.
func (r *received) decode(t *testing.T, line int) {
	t.Helper()
	body, err := decoded(r.fields.Get("Content-Encoding"), bytes.NewReader(r.body))
	if err != nil {
		t.Errorf("line %d: reply: decode %d bytes: %v", line, len(r.body), err)
	}
	r.body = body
}

func decoded(coding string, body io.Reader) ([]byte, error) {
	switch coding {
	case "gzip":
		in, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		return io.ReadAll(in)
	case "br":
		return io.ReadAll(brotli.NewReader(body))
	case "zstd":
		in, err := zstd.NewReader(body)
		if err != nil {
			return nil, err
		}
		defer in.Close()
		return io.ReadAll(in)
	}
	return nil, fmt.Errorf("content coding %q", coding)
}
