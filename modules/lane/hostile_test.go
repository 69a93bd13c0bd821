// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"bufio"
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// verdict reads one request with the machine: the status it would be refused with, 200 when it is complete, 0 when the
// bytes end before it is.
func verdict(raw []byte, step int) (status int, r *gateway.Request, body []byte) {
	r = &gateway.Request{Scheme: "http"}
	var s scanner
	head := 0
	raw, more := skipEmptyLine(raw)
	if more || len(raw) == 0 {
		return 0, r, nil
	}
	for end := min(step, len(raw)); ; end = min(end+step, len(raw)) {
		n, refusal := s.scan(raw[:end], DefaultLimits.HeadBytes)
		if refusal != nil {
			return refusal.Status, r, nil
		}
		if n > 0 {
			head = n
			break
		}
		if end == len(raw) {
			return 0, r, nil
		}
	}
	f, refusal := parseRequest(raw[:head], r, &DefaultLimits)
	if refusal != nil {
		return refusal.Status, r, nil
	}
	for rest := raw[head:]; ; {
		piece := rest[:min(step, len(rest))]
		data, n, done, refusal := f.Body.Next(piece)
		body = append(body, data...)
		rest = rest[n:]
		switch {
		case refusal != nil:
			return refusal.Status, r, body
		case done:
			return 200, r, body
		case len(rest) == 0:
			return 0, r, body
		}
	}
}

func TestHostileHeads(t *testing.T) {
	for _, c := range Cases(t, "requests.jsonl") {
		t.Run(c.ID, func(t *testing.T) {
			got, r, _ := verdict([]byte(c.Raw), len(c.Raw)+1)
			if bytewise, _, _ := verdict([]byte(c.Raw), 1); bytewise != got {
				t.Errorf("bytewise %d, in one piece %d", bytewise, got)
			}
			switch {
			case strings.HasPrefix(c.Ando, "reject-") && c.Ando != "reject-401" && c.Ando != "reject-413":
				if got < 400 {
					t.Errorf("%s: got %d, want a refusal (%s)", c.Ando, got, c.Why)
				}
			case strings.HasPrefix(c.Ando, "accept"):
				if got != 200 {
					t.Errorf("got %d, want 200 (%s)", got, c.Why)
				}
			}
			if got != 0 && !slices.Contains(c.AllowedStatus, got) {
				t.Errorf("got %d, allowed %v (%s)", got, c.AllowedStatus, c.Why)
			}
			if c.RoutePath != "" && c.RoutePath != "400" && r.EscapedPath != c.RoutePath {
				t.Errorf("canonical path %q, want %q", r.EscapedPath, c.RoutePath)
			}
		})
	}
}

// FuzzRequest checks that whatever a lane accepts net/http accepts too, and reads the same.
func FuzzRequest(f *testing.F) {
	for _, c := range Cases(f, "requests.jsonl") {
		if len(c.Raw) < 4096 {
			f.Add([]byte(c.Raw))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		status, r, body := verdict(raw, len(raw)+1)
		if bytewise, _, _ := verdict(raw, 1); bytewise != status {
			t.Fatalf("bytewise %d, in one piece %d", bytewise, status)
		}
		if status != 200 {
			return
		}
		// The one thing a lane takes that net/http does not: RFC 9112 section 2.2 asks for it.
		raw, _ = skipEmptyLine(raw)
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			t.Fatalf("net/http refuses it: %v", err)
		}
		if req.Method != r.Method || req.Host != r.RawHost && r.RawHost != "" && !strings.HasPrefix(r.Target, "http") {
			t.Fatalf("net/http reads %s %s, the lane %s %s", req.Method, req.Host, r.Method, r.RawHost)
		}
		if req.RequestURI != r.Target {
			t.Fatalf("net/http reads target %q, the lane %q", req.RequestURI, r.Target)
		}
		var want bytes.Buffer
		if _, err := want.ReadFrom(req.Body); err != nil {
			t.Fatalf("net/http refuses the body: %v", err)
		}
		if !bytes.Equal(want.Bytes(), body) {
			t.Fatalf("net/http reads body %q, the lane %q", want.Bytes(), body)
		}
		for name, value := range r.Header.All() {
			if !slices.Contains(req.Header[http.CanonicalHeaderKey(name)], value) {
				t.Fatalf("net/http has no %s: %q", name, value)
			}
		}
	})
}
