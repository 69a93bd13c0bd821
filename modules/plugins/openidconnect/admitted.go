// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// admission is a token that a config has let in, known by its hash. It is immutable.
type admission struct {
	sum [32]byte
	lifetime
	// keys are those of the provider that verified it: with other keys it has to be verified again. Nil is none.
	keys *keySet
	// user is what is known of whom the token is, as JSON, and userinfo the base64 of it.
	user, userinfo string
}

// admissions remembers up to a fixed number of tokens: a new one takes the place of an old one. The tokens themselves are
// not kept. It is safe for concurrent use and takes no lock.
type admissions struct {
	ways [2][admissionSlots]atomic.Pointer[admission]
	turn atomic.Uint32
}

const (
	// admissionSlots is half the number of tokens that are remembered.
	admissionSlots = 2048
	// maxUser is how much is remembered of one, in bytes: longer ones are not.
	maxUser = 4 << 10
)

// admitted are the tokens that were let in.
var admitted admissions

// sumOf returns the hash that a config knows a token by, together with the fields that its provider is told.
func (rp *relyingParty) sumOf(x *gateway.Exchange, token string) [32]byte {
	// A buffer of its own keeps tokens of the usual length off the heap.
	var buffer [2048]byte
	text := append(append(buffer[:0], rp.scope[:]...), token...)
	if !rp.verifiesLocally() {
		for _, name := range rp.IntrospectionAddFields {
			text = append(text, 0)
			for value := range x.Request.Header.Values(name) {
				text = append(append(text, 1), value...)
			}
		}
	}
	return sha256.Sum256(text)
}

func (a *admissions) slots(sum *[32]byte) [2]*atomic.Pointer[admission] {
	i, j := binary.LittleEndian.Uint32(sum[:]), binary.LittleEndian.Uint32(sum[4:])
	return [2]*atomic.Pointer[admission]{&a.ways[0][i%admissionSlots], &a.ways[1][j%admissionSlots]}
}

// find returns what is remembered for a hash, nil when that is nothing or counts no more.
func (a *admissions) find(sum *[32]byte, now time.Time) *admission {
	for _, slot := range a.slots(sum) {
		known := slot.Load()
		if known == nil || known.sum != *sum {
			continue
		}
		if !known.holds(now) {
			slot.CompareAndSwap(known, nil)
			return nil
		}
		return known
	}
	return nil
}

func (a *admissions) add(known *admission) {
	if len(known.user) > maxUser {
		return
	}
	slots := a.slots(&known.sum)
	for _, slot := range slots {
		if old := slot.Load(); old == nil || old.sum == known.sum {
			slot.Store(known)
			return
		}
	}
	slots[a.turn.Add(1)%2].Store(known)
}

// group makes calls that several requests want the outcome of, each call once. Its zero value is ready. It is safe for
// concurrent use.
type group[T any] struct {
	mu    sync.Mutex
	calls map[[32]byte]*sharedCall[T]
}

type sharedCall[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// do returns the outcome of the call that has the key: of one that is under way, of one that ended well not longer than
// keep ago, or of a new one. A call outlives who began it and bounds itself.
func (g *group[T]) do(ctx context.Context, key [32]byte, keep time.Duration, call func(context.Context) (T, error)) (T, error) {
	g.mu.Lock()
	c := g.calls[key]
	if c == nil {
		c = &sharedCall[T]{done: make(chan struct{})}
		if g.calls == nil {
			g.calls = make(map[[32]byte]*sharedCall[T])
		}
		g.calls[key] = c
		go g.run(c, key, keep, call)
	}
	g.mu.Unlock()
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (g *group[T]) run(c *sharedCall[T], key [32]byte, keep time.Duration, call func(context.Context) (T, error)) {
	c.value, c.err = call(context.Background())
	if c.err == nil && keep > 0 {
		time.AfterFunc(keep, func() { g.forget(key) })
	} else {
		g.forget(key)
	}
	close(c.done)
}

func (g *group[T]) forget(key [32]byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.calls, key)
}
