// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// readServerName returns the server name in the TLS handshake that the stream begins with, without taking it: "" when there
// is none in it, or no handshake. The error says that the client did not send enough to tell.
func readServerName(stream gateway.Prereader) (string, error) {
	for need := 1; ; {
		hello, err := stream.Preread(need)
		if err != nil {
			return "", err
		}
		more, err := helloSize(hello)
		if err != nil {
			return "", nil //nolint:nilerr // it is another protocol
		}
		if more <= len(hello) {
			return helloServerName(hello[:more]), nil
		}
		need = more
	}
}

// Of a TLS record (RFC 8446 section 5.1) and of the handshake message in it (section 4).
const (
	recordHeader         = 5
	recordHandshake      = 22
	maxRecord            = 1<<14 + 256
	handshakeHeader      = 4
	messageHello         = 1
	maxClientHello       = 1 << 16
	recordMajor     byte = 3
)

var errNoHello = errors.New("not a TLS handshake")

// helloSize returns how many bytes the records of the ClientHello at the beginning of b take, as far as b tells; more than
// b has says that as many have to be there to tell more.
func helloSize(b []byte) (int, error) {
	message, size := 0, 0
	var header [handshakeHeader]byte
	for {
		rest := b[min(size, len(b)):]
		if len(rest) > 0 && rest[0] != recordHandshake || len(rest) > 1 && rest[1] != recordMajor {
			return 0, errNoHello
		}
		if len(rest) < recordHeader {
			return size + recordHeader, nil
		}
		length := int(binary.BigEndian.Uint16(rest[3:]))
		if length == 0 || length > maxRecord {
			return 0, errNoHello
		}
		body := rest[recordHeader:]
		if message < handshakeHeader {
			n := copy(header[message:], body[:min(length, len(body))])
			if message == 0 && n > 0 && header[0] != messageHello {
				return 0, errNoHello
			}
		}
		if len(body) < length {
			return size + recordHeader + length, nil
		}
		message, size = message+length, size+recordHeader+length
		if message < handshakeHeader {
			continue
		}
		whole := handshakeHeader + int(header[1])<<16 + int(binary.BigEndian.Uint16(header[2:]))
		if whole > maxClientHello {
			return 0, errNoHello
		}
		if message >= whole {
			return size, nil
		}
	}
}

// helloServerName has crypto/tls read the records, so that what is matched is what a Go server would see in them.
func helloServerName(records []byte) (name string) {
	server := tls.Server(&recorded{Reader: bytes.NewReader(records)}, &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			name = hello.ServerName
			return nil, errSeen
		},
	})
	// It fails in any case: by errSeen, or because it is no ClientHello after all.
	_ = server.Handshake()
	return name
}

var errSeen = errors.New("seen")

// recorded is a connection on which everything has been said.
type recorded struct{ io.Reader }

func (recorded) Write(b []byte) (int, error)      { return len(b), nil }
func (recorded) Close() error                     { return nil }
func (recorded) LocalAddr() net.Addr              { return nil }
func (recorded) RemoteAddr() net.Addr             { return nil }
func (recorded) SetDeadline(time.Time) error      { return nil }
func (recorded) SetReadDeadline(time.Time) error  { return nil }
func (recorded) SetWriteDeadline(time.Time) error { return nil }
