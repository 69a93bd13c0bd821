// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// sender is a connection on which a client sends text, in pieces, and then ends.
type sender struct {
	net.Conn
	text  string
	piece int
}

func (s *sender) Read(b []byte) (int, error) {
	n := copy(b, s.text[:min(s.piece, len(s.text))])
	s.text = s.text[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (s *sender) Write(b []byte) (int, error) { return len(b), nil }

func TestStrictPassesOn(t *testing.T) {
	const good = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"
	const bad = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r"
	const asks = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	const frames = "\x81\x05hello\n\n\n"
	for _, c := range []struct {
		// want is what is passed on; "" is anything but all of it.
		name, sent, want string
		// switches: what is sent is answered with 101.
		switches bool
		err      error
	}{
		{"good requests", good, good, false, nil},
		{"nothing after a bad one", good + bad + "\n0\r\n\r\n" + good, good + bad + poisonedHead, false, nil},
		{"nothing of a bad line", good + "GET / HTTP/1.1\nHost: h\r\n\r\n", "", false, nil},
		{"a bad body", strings.Replace(good, "3\r\n", "3 \r\n", 1), "", false, gateway.ErrMalformedBody},
		{"a preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00", false, nil},
		{"CONNECT", "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n" + frames, "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n" + frames, false, nil},
		{"an upgrade that is not made", asks + bad + "\n", asks + bad + poisonedHead, false, nil},
		{"an upgrade", asks, asks + frames, true, nil},
	} {
		for _, piece := range []int{1, 7, 1 << 20} {
			s := &sender{text: c.sent, piece: piece}
			conn := Strict(s)
			var got []byte
			var err error
			for b := make([]byte, 64); err == nil; {
				var n int
				n, err = conn.Read(b)
				got = append(got, b[:n]...)
				if c.switches && string(got) == asks {
					// The client has waited for it.
					conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n"))
					s.text = frames
				}
			}
			if c.err == nil {
				c.err = io.EOF
			}
			if !errors.Is(err, c.err) {
				t.Errorf("%s/%d: %v, want %v", c.name, piece, err, c.err)
			}
			if text := string(got); c.want != "" && text != c.want || c.want == "" && strings.HasSuffix(text, c.sent) {
				t.Errorf("%s/%d: got\n%q\nwant\n%q", c.name, piece, text, c.want)
			}
		}
	}
}
