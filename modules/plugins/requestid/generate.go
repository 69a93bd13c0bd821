// SPDX-License-Identifier: Apache-2.0

package requestid

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// generators are the algorithms without settings. Their randomness is that of math/rand/v2, which nobody can predict but
// which is no secret: ids tell requests apart and protect nothing.
var generators = map[string]func() string{
	"uuid":   func() string { return uuid4() },
	"uuidv7": func() string { return uuid7(time.Now()) },
	"nanoid": func() string { return draw(nanoCharacters, nanoLength) },
	"ksuid":  func() string { return ksuid(time.Now()) },
}

// uuid4 is RFC 9562 section 5.4.
func uuid4() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], rand.Uint64())
	binary.BigEndian.PutUint64(b[8:], rand.Uint64())
	return formatUUID(&b, 4)
}

// uuid7 is RFC 9562 section 5.7: 48 bits of Unix milliseconds, so that ids sort by time, and random bits.
func uuid7(now time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16|rand.Uint64()>>48)
	binary.BigEndian.PutUint64(b[8:], rand.Uint64())
	return formatUUID(&b, 7)
}

// formatUUID sets version and variant (RFC 9562 section 4).
func formatUUID(b *[16]byte, version byte) string {
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
	const digits = "0123456789abcdef"
	var text [36]byte
	at := 0
	for i, c := range b {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text[at] = '-'
			at++
		}
		text[at], text[at+1] = digits[c>>4], digits[c&15]
		at += 2
	}
	return string(text[:])
}

// A nanoid has 21 of 64 characters that need no escaping in a URL.
const (
	nanoCharacters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-"
	nanoLength     = 21
)

// draw returns n bytes of characters, each as likely as any other.
func draw(characters string, n int) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = characters[rand.IntN(len(characters))]
	}
	return string(text)
}

const (
	// ksuidEpoch is what a KSUID counts its seconds from: 2014-05-13 16:53:20 UTC.
	ksuidEpoch   = 1_400_000_000
	ksuidLength  = 27
	base62Digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// ksuid is 32 bits of seconds and 128 random bits as a number with 27 digits to the base of 62, so that ids sort by time.
func ksuid(now time.Time) string {
	var words [5]uint32
	words[0] = uint32(now.Unix() - ksuidEpoch)
	for i := 1; i < len(words); i++ {
		words[i] = rand.Uint32()
	}
	return base62(&words)
}

// base62 divides the number again and again, which leaves words zero.
func base62(words *[5]uint32) string {
	var text [ksuidLength]byte
	for i := len(text) - 1; i >= 0; i-- {
		rest := uint64(0)
		for j := range words {
			n := rest<<32 | uint64(words[j])
			words[j], rest = uint32(n/62), n%62
		}
		text[i] = base62Digits[rest]
	}
	return string(text[:])
}
