// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"context"
	"fmt"
	"time"

	gopher "github.com/yuin/gopher-lua"
)

// Limits bound one run. A step is one instruction of the machine, some 20 to 50 ns; what library functions do in Go costs
// steps in proportion.
type Limits struct {
	Steps int
	// Bytes is how much text a run may make, all in all, garbage included. Tables are bounded by the steps it takes to fill
	// them.
	Bytes int
}

var (
	// OnLoop bounds what runs where it is called, on an event loop too: some milliseconds at the very worst.
	OnLoop = Limits{Steps: 100_000, Bytes: 16 << 20}
	// Apart bounds what runs on a goroutine of its own.
	Apart = Limits{Steps: 10_000_000, Bytes: 64 << 20}
)

const (
	// slice is after how many steps a run looks whether its client is still there.
	slice = 4096
	// bytesPerStep is what a step's worth of work with text is.
	bytesPerStep = 256
)

// budget is what is left of a run's limits. The machine asks it before each instruction whether to go on, as it asks the
// context that it runs under; that makes the bound exact, and no timer is needed.
type budget struct {
	limits Limits
	// steps are left in the slice, reserve behind it.
	steps, reserve, bytes int
	// client ends when nobody waits any more; nil is never.
	client context.Context
	// why is set when the run is over.
	why error
}

func (b *budget) begin(limits Limits, client context.Context) {
	*b = budget{limits: limits, reserve: limits.Steps, bytes: limits.Bytes, client: client}
	b.refill()
}

func (b *budget) refill() {
	b.steps = min(slice, b.reserve)
	b.reserve -= b.steps
}

// stop ends the run at its next instruction, whatever catches errors until then.
func (b *budget) stop(why error) {
	if b.why == nil {
		b.why = why
	}
	b.steps, b.reserve = 0, 0
}

var over = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Done implements context.Context for the machine.
func (b *budget) Done() <-chan struct{} {
	if b.steps--; b.steps >= 0 {
		return nil
	}
	return b.done()
}

func (b *budget) done() <-chan struct{} {
	switch {
	case b.why != nil:
	case b.reserve == 0:
		b.stop(fmt.Errorf("it took more than %d steps", b.limits.Steps))
	case b.client != nil && b.client.Err() != nil:
		b.stop(b.client.Err())
	default:
		b.refill()
		return nil
	}
	return over
}

// spend pays for n steps of work in Go.
func (b *budget) spend(l *gopher.LState, n int) {
	for b.steps -= n; b.steps < 0; {
		owed := -b.steps
		b.steps = 0
		if b.done() != nil {
			l.RaiseError("%s", b.why.Error())
		}
		b.steps -= owed
	}
}

// spendBytes pays for n bytes of new text.
func (b *budget) spendBytes(l *gopher.LState, n int) {
	if b.bytes -= n; b.bytes < 0 {
		b.stop(fmt.Errorf("it made more than %d bytes of text", b.limits.Bytes))
		l.RaiseError("%s", b.why.Error())
	}
	b.spend(l, n/bytesPerStep)
}

// Err implements context.Context.
func (b *budget) Err() error { return b.why }

// Deadline implements context.Context: there is none.
func (*budget) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context: there is none.
func (*budget) Value(any) any { return nil }
