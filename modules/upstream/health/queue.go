// SPDX-License-Identifier: Apache-2.0

package health

import "container/heap"

// queue is a heap of targets by when they are due. Each knows its place.
type queue []*target

func (q *queue) push(t *target) { heap.Push(q, t) }

func (q *queue) fix(t *target) { heap.Fix(q, t.place) }

// remove does nothing to a target that is not in the queue.
func (q *queue) remove(t *target) {
	if t.place >= 0 {
		heap.Remove(q, t.place)
	}
}

// Len implements heap.Interface.
func (q queue) Len() int { return len(q) }

// Less implements heap.Interface.
func (q queue) Less(i, j int) bool { return q[i].next.Before(q[j].next) }

// Swap implements heap.Interface.
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	t := x.(*target)
	t.place = len(*q)
	*q = append(*q, t)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	last := len(old) - 1
	t := old[last]
	old[last] = nil
	*q = old[:last]
	t.place = -1
	return t
}
