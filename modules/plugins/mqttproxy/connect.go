// SPDX-License-Identifier: Apache-2.0

package mqttproxy

import "errors"

// connect is what a CONNECT packet says first.
type connect struct {
	protocol string
	level    int
	clientID string
}

var (
	errNotConnect = errors.New("not a CONNECT packet")
	errTooShort   = errors.New("the packet is shorter than what is in it")
)

const (
	// typeConnect is the first byte: the type of the packet, and no flags (MQTT 5.0 section 3.1.1).
	typeConnect = 0x10
	// levelProperties is the version that has properties in front of the payload (section 3.1.2.11).
	levelProperties = 5
	// maxLengthBytes is how many bytes a variable byte integer has (section 1.5.5).
	maxLengthBytes = 4
)

// readConnect reads a packet up to the client id. more waits for so many bytes and returns those that are there, from the
// first on.
func readConnect(more func(n int) ([]byte, error)) (c connect, err error) {
	r := &reader{more: more, end: 1 << 30}
	first, err := r.bytes(1)
	if err != nil {
		return c, err
	}
	if first[0] != typeConnect {
		return c, errNotConnect
	}
	length, err := r.length()
	if err != nil {
		return c, err
	}
	r.end = r.at + length
	if c.protocol, err = r.text(); err != nil {
		return c, err
	}
	// The level, flags, and the time to keep alive.
	fixed, err := r.bytes(4)
	if err != nil {
		return c, err
	}
	c.level = int(fixed[0])
	if c.level >= levelProperties {
		length, err := r.length()
		if err != nil {
			return c, err
		}
		if _, err := r.bytes(length); err != nil {
			return c, err
		}
	}
	c.clientID, err = r.text()
	return c, err
}

// reader reads a packet whose bytes come one after another.
type reader struct {
	more    func(n int) ([]byte, error)
	at, end int
}

// bytes returns the next n. They are good until the next call.
func (r *reader) bytes(n int) ([]byte, error) {
	if r.at+n > r.end {
		return nil, errTooShort
	}
	all, err := r.more(r.at + n)
	if err != nil {
		return nil, err
	}
	r.at += n
	return all[r.at-n : r.at], nil
}

// length reads a variable byte integer.
func (r *reader) length() (n int, err error) {
	for i := range maxLengthBytes {
		b, err := r.bytes(1)
		if err != nil {
			return 0, err
		}
		n |= int(b[0]&0x7f) << (7 * i)
		if b[0]&0x80 == 0 {
			return n, nil
		}
	}
	return 0, errNotConnect
}

// text reads a string with its length in front.
func (r *reader) text() (string, error) {
	b, err := r.bytes(2)
	if err != nil {
		return "", err
	}
	b, err = r.bytes(int(b[0])<<8 | int(b[1]))
	return string(b), err
}
