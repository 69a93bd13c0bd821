// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

// Field is one header field.
type Field struct{ Name, Value string }

// Entry is one response, or what tells which of several responses to take. It is immutable once it is in a zone.
type Entry struct {
	// Vary names the fields of the request, in lower case, that the responses for a key depend on. An entry with it has
	// no response but a mark, which is part of the keys of the responses: when it goes none of them is found any more.
	Vary []string
	Mark uint64

	Status int
	Fields []Field
	Body   []byte
	// Stored is when the response came, and Fresh how long it is fresh from then on.
	Stored time.Time
	Fresh  time.Duration
}

// size is about what the entry takes in memory.
func (e *Entry) size() int64 {
	n := int64(len(e.Body)) + 128
	for _, f := range e.Fields {
		n += int64(len(f.Name)+len(f.Value)) + 32
	}
	for _, name := range e.Vary {
		n += int64(len(name)) + 16
	}
	return n
}

// FreshAt reports whether the response may be used at now without asking for it again.
func (e *Entry) FreshAt(now time.Time) bool { return now.Before(e.Stored.Add(e.Fresh)) }

// magic begins a stored entry; its last byte is the version of the form.
const magic = "ANDOC\x01"

var errCorrupt = errors.New("not a stored response, or a damaged one")

// encode returns the entry with its key, as it is stored: the lengths and texts one after the other, then a checksum of all
// of it.
func (e *Entry) encode(key string) []byte {
	b := make([]byte, 0, e.size()+int64(len(key))+64)
	b = append(b, magic...)
	b = appendText(b, key)
	b = binary.AppendVarint(b, e.Stored.UnixNano())
	b = binary.AppendVarint(b, int64(e.Fresh))
	b = binary.AppendUvarint(b, uint64(e.Status))
	b = binary.AppendUvarint(b, e.Mark)
	b = binary.AppendUvarint(b, uint64(len(e.Vary)))
	for _, name := range e.Vary {
		b = appendText(b, name)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Fields)))
	for _, f := range e.Fields {
		b = appendText(appendText(b, f.Name), f.Value)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Body)))
	b = append(b, e.Body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// decode is the inverse of encode.
func decode(b []byte) (key string, e *Entry, err error) {
	if len(b) < len(magic)+4 || !bytes.HasPrefix(b, []byte(magic)) {
		return "", nil, errCorrupt
	}
	sum := binary.BigEndian.Uint32(b[len(b)-4:])
	b = b[:len(b)-4]
	if crc32.Checksum(b, castagnoli) != sum {
		return "", nil, errCorrupt
	}
	d := decoder{rest: b[len(magic):]}
	key = d.text()
	e = &Entry{Stored: time.Unix(0, d.varint()), Fresh: time.Duration(d.varint()), Status: int(d.uvarint()), Mark: d.uvarint()}
	for range d.count() {
		e.Vary = append(e.Vary, d.text())
	}
	for range d.count() {
		name := d.text()
		e.Fields = append(e.Fields, Field{name, d.text()})
	}
	e.Body = []byte(d.text())
	if d.failed || len(d.rest) > 0 {
		return "", nil, errCorrupt
	}
	return key, e, nil
}

// decoder reads what encode wrote. After a failure it returns zero values.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.rest)
	return uint64(d.advance(int64(n), size))
}

func (d *decoder) varint() int64 {
	n, size := binary.Varint(d.rest)
	return d.advance(n, size)
}

func (d *decoder) advance(n int64, size int) int64 {
	if size <= 0 || d.failed {
		d.failed = true
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

// count reads how many things follow: no more than there are bytes.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.failed = true
		return 0
	}
	return int(n)
}

func (d *decoder) text() string {
	n := d.count()
	text := string(d.rest[:n])
	d.rest = d.rest[n:]
	return text
}
