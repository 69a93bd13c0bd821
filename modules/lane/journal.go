// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxJournal bounds the memory, in bytes, of the records of one loop that wait to be written. Above it the loop takes
	// no further request for a site that logs: clients wait, as they would for a server that writes each line itself. No
	// line is lost, and what requests under way add is all that comes on top.
	maxJournal = 8 << 20
	// keptRecords is how many records are kept for the next use, keptRecord up to which size of their buffers.
	keptRecords = 1024
	keptRecord  = 4 << 10
	// nap is how long the writer lets records gather before it looks again. It then writes what has come meanwhile, so that
	// a busy loop wakes it once for hundreds of records.
	nap = time.Millisecond
)

// journal takes the records of one loop to the logs, on a goroutine of its own: what writes a line may wait for a disk,
// which a loop must not. push, full and hold are the loop's.
type journal struct {
	// room is called, from the writer's goroutine, when there is room again and hold has asked for it.
	room func()
	// weight is how many bytes wait.
	weight  atomic.Int64
	holding atomic.Bool

	mu          sync.Mutex
	wake        sync.Cond
	queue, free []*Record
	asleep      bool
	ended       bool
}

func newJournal(room func()) *journal {
	j := &journal{room: room}
	j.wake.L = &j.mu
	go j.run()
	return j
}

// full reports whether the loop should take no more requests that make records.
func (j *journal) full() bool { return j.weight.Load() > maxJournal }

// blank returns a record to fill in.
func (j *journal) blank() *Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := len(j.free)
	if n == 0 {
		return new(Record)
	}
	r := j.free[n-1]
	j.free = j.free[:n-1]
	return r
}

// push has the record written. After end it is written at once.
func (j *journal) push(r *Record) {
	j.weight.Add(r.weight())
	r.Serving.unwritten.Add(1)
	j.mu.Lock()
	ended := j.ended
	if !ended {
		j.queue = append(j.queue, r)
		if j.asleep {
			j.asleep = false
			j.wake.Signal()
		}
	}
	j.mu.Unlock()
	if ended {
		j.write(r)
	}
}

// hold asks for a call of room. There is one for each time that hold was called when full, at the latest when everything
// has been written.
func (j *journal) hold() {
	j.holding.Store(true)
	if !j.full() {
		j.relieve()
	}
}

func (j *journal) relieve() {
	if j.weight.Load() <= maxJournal/2 && j.holding.CompareAndSwap(true, false) {
		j.room()
	}
}

func (j *journal) run() {
	var batch []*Record
	for {
		j.mu.Lock()
		for len(j.queue) == 0 && !j.ended {
			j.asleep = true
			j.wake.Wait()
		}
		batch, j.queue = j.queue, batch[:0]
		j.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, r := range batch {
			j.write(r)
		}
		j.keep(batch)
		time.Sleep(nap)
	}
}

// keep takes back the records of a batch.
func (j *journal) keep(batch []*Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.free = append(j.free, batch[:min(len(batch), keptRecords-len(j.free))]...)
	clear(batch)
}

// write writes one record and makes it ready for another use.
func (j *journal) write(r *Record) {
	weight, serving := r.weight(), r.Serving
	r.unpack()
	serving.Log(r)
	r.reset()
	serving.unwritten.Add(-1)
	j.weight.Add(-weight)
	j.relieve()
}

// end lets the writer finish what there is and go.
func (j *journal) end() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = true
	j.wake.Signal()
}

// Flush waits until what the site's exchanges have left so far is written, at most for patience.
func (s *Serving) Flush(patience time.Duration) {
	for end := time.Now().Add(patience); s.unwritten.Load() > 0 && time.Now().Before(end); {
		time.Sleep(nap)
	}
}
