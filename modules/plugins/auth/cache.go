// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// Proof is something that was verified once and need not be again: that whoever presents what Sum is the hash of has the
// credential that is found by Key, as long as it is the same credential and the time has come and not run out. It is
// immutable.
type Proof struct {
	Sum [sha256.Size]byte
	// Scope is what else the proof depends on: a config that reads the same thing in another way has another one.
	Scope string
	// Key is what Table.Credential finds the credential by.
	Key string
	// Config is the Config of the credential that it was verified with: a pointer, so that a credential that changed, or
	// went, or came again, proves nothing.
	Config any
	// From and Until bound the time, in seconds since 1970: From <= now < Until. NoFrom and NoUntil are no bounds.
	From, Until float64
	// Flags are the plugin's.
	Flags uint8
}

// Bounds that always hold.
const (
	NoFrom  = 0
	NoUntil = 1 << 62
)

// Valid reports whether the time has come and not run out.
func (p *Proof) Valid(now time.Time) bool {
	seconds := float64(now.UnixNano()) / 1e9
	return p.From <= seconds && seconds < p.Until
}

// Cache remembers proofs, up to a fixed number: a new one takes the place of an old one. Credentials themselves are not
// kept, only their hashes. Its zero value is empty. It is safe for concurrent use and takes no lock.
type Cache struct {
	ways [2][cacheSlots]atomic.Pointer[Proof]
	turn atomic.Uint32
}

// Sum returns the hash of what somebody presents.
func Sum(text string) [sha256.Size]byte {
	// A buffer of its own keeps a text of the usual length off the heap.
	var buffer [1024]byte
	if len(text) <= len(buffer) {
		return sha256.Sum256(buffer[:copy(buffer[:], text)])
	}
	return sha256.Sum256([]byte(text))
}

// cacheSlots is half the number of proofs that are kept.
const cacheSlots = 4096

// slots are the two places where a proof may be.
func (c *Cache) slots(sum *[sha256.Size]byte) [2]*atomic.Pointer[Proof] {
	a, b := binary.LittleEndian.Uint32(sum[:]), binary.LittleEndian.Uint32(sum[4:])
	return [2]*atomic.Pointer[Proof]{&c.ways[0][a%cacheSlots], &c.ways[1][b%cacheSlots]}
}

// Find returns the credential of plugin that was proven for sum in a scope, and the proof; nil when nothing is known, the time does
// not fit or the credential is no longer the same.
func (c *Cache) Find(x *gateway.Exchange, plugin, scope string, sum *[sha256.Size]byte) (*gateway.Credential, *Proof) {
	for _, slot := range c.slots(sum) {
		p := slot.Load()
		if p == nil || p.Sum != *sum || p.Scope != scope {
			continue
		}
		credential := x.Table.Credential(plugin, p.Key)
		if credential == nil || credential.Config != p.Config || !p.Valid(x.Start) {
			slot.CompareAndSwap(p, nil)
			return nil, nil
		}
		return credential, p
	}
	return nil, nil
}

// Add remembers a proof.
func (c *Cache) Add(p *Proof) {
	slots := c.slots(&p.Sum)
	for _, slot := range slots {
		if old := slot.Load(); old == nil || old.Sum == p.Sum {
			slot.Store(p)
			return
		}
	}
	slots[c.turn.Add(1)%2].Store(p)
}
