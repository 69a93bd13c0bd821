// SPDX-License-Identifier: Apache-2.0

package authzcasbin

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// question is what a policy decides about.
type question struct{ user, path, method string }

func (q question) clone() question {
	return question{strings.Clone(q.user), strings.Clone(q.path), strings.Clone(q.method)}
}

const (
	// memorySlots is how many answers are remembered: a new one takes the place of an old one.
	memorySlots = 1024
	// maxRemembered bounds the length of a question whose answer is.
	maxRemembered = 512
)

// memory has the newest answers of a policy. A policy and the question alone decide, so they stay right. It takes no lock.
type memory struct {
	seed  maphash.Seed
	slots *[memorySlots]atomic.Pointer[answer]
}

// answer is immutable.
type answer struct {
	question
	allowed bool
}

func newMemory() memory {
	return memory{maphash.MakeSeed(), new([memorySlots]atomic.Pointer[answer])}
}

func (m *memory) slot(q question) *atomic.Pointer[answer] {
	var h maphash.Hash
	h.SetSeed(m.seed)
	for _, text := range [...]string{q.user, q.path, q.method} {
		_, _ = h.WriteString(text)
		_ = h.WriteByte(0)
	}
	return &m.slots[h.Sum64()%memorySlots]
}

// recall returns the answer to a question, if it is known.
func (m *memory) recall(q question) (allowed, known bool) {
	if a := m.slot(q).Load(); a != nil && a.question == q {
		return a.allowed, true
	}
	return false, false
}

// remember keeps an answer. The question's strings are kept too.
func (m *memory) remember(q question, allowed bool) {
	if len(q.user)+len(q.path)+len(q.method) <= maxRemembered {
		m.slot(q).Store(&answer{q, allowed})
	}
}
