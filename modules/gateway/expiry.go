// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	// expiryRetry is how long after a failed delete of expired objects the next try comes.
	expiryRetry = 10 * time.Second
	// clockCheck bounds how long the committer sleeps while anything expires: timers do not follow a clock that is set.
	clockCheck = time.Minute
)

// expiring knows which stored objects go by themselves. It belongs to the committer. The zero value is empty.
type expiring struct {
	objects map[string]Object
	// next is no later than the first of the objects expires; zero is never.
	next time.Time
}

// reset forgets everything and begins with the stored objects.
func (e *expiring) reset(stored []Object) {
	*e = expiring{}
	for i := range stored {
		e.put(&stored[i])
	}
}

// note follows changes that have been stored.
func (e *expiring) note(changes []Change) {
	for i := range changes {
		o := &changes[i].Object
		if changes[i].Delete || o.Expires.IsZero() {
			if len(e.objects) > 0 {
				delete(e.objects, o.Key())
			}
			continue
		}
		e.put(o)
	}
}

func (e *expiring) put(o *Object) {
	if o.Expires.IsZero() {
		return
	}
	if e.objects == nil {
		e.objects = make(map[string]Object)
	}
	e.objects[o.Key()] = Object{Kind: o.Kind, ID: o.ID, Created: o.Created, Expires: o.Expires}
	e.sooner(o.Expires)
}

func (e *expiring) sooner(t time.Time) {
	if e.next.IsZero() || t.Before(e.next) {
		e.next = t
	}
}

// due returns what has expired, in key order, and sets next by what has not.
func (e *expiring) due(now time.Time) []Object {
	var due []Object
	e.next = time.Time{}
	for _, o := range e.objects {
		if o.expired(now) {
			due = append(due, o)
		} else {
			e.sooner(o.Expires)
		}
	}
	slices.SortFunc(due, func(a, b Object) int { return strings.Compare(a.Key(), b.Key()) })
	return due
}

// arm sets the alarm for the next look at what has expired.
func (e *expiring) arm(alarm *time.Timer) {
	if e.next.IsZero() {
		alarm.Stop()
		return
	}
	alarm.Reset(min(time.Until(e.next), clockCheck))
}

func (o *Object) expired(now time.Time) bool { return !o.Expires.IsZero() && !o.Expires.After(now) }

// unexpired returns the objects that have not expired.
func (g *Gateway) unexpired(stored []Object) []Object {
	now := time.Now()
	gone := func(o Object) bool { return o.expired(now) }
	if !slices.ContainsFunc(stored, gone) {
		return stored
	}
	return slices.DeleteFunc(slices.Clone(stored), gone)
}

// expire deletes what has expired, as a write would: stored first, then live. An object that a declared one hides, or
// that had expired before it was compiled, is in the store alone.
func (g *Gateway) expire() {
	if g.expiring.next.IsZero() || time.Now().Before(g.expiring.next) {
		return
	}
	due := g.expiring.due(time.Now())
	if len(due) == 0 {
		return
	}
	table, rev := g.Table(), g.rev
	all, served := make([]Change, 0, len(due)), make([]Change, 0, len(due))
	for _, o := range due {
		rev++
		o.Modified = rev
		change := Change{Object: o, Delete: true}
		all = append(all, change)
		if live, ok := table.Object(o.Kind, o.ID); ok && live.Origin == OriginStore {
			served = append(served, change)
		}
	}
	next, err := g.with(table, served)
	if err == nil {
		err = g.persist(all, next)
	}
	if err != nil {
		g.expiring.sooner(time.Now().Add(expiryRetry))
		g.log().Error("deleting expired objects failed", zap.Int("objects", len(due)), zap.Error(err))
	}
}
