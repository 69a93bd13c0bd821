// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// call is one request of a writer. Every write puts a value in the object that no other write does.
type call struct {
	method, path string
	// match is the value that the writer last read, for If-Match; absent asks for there to be no object.
	match  string
	absent bool
	value  string
}

type answer struct {
	status int
	// tag is the ETag of what there was: of a GET, and of a write that was refused for it.
	tag string
	// value is the value that the tag stands for; known says that somebody has read it under that tag.
	value string
	known bool
}

// oneObject is what objects must look like to writers, however they come together: one value, or none, that each request
// sees and changes at one moment between its start and its answer.
var oneObject = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byPath := map[string][]porcupine.Operation{}
		for _, op := range history {
			path := op.Input.(call).path
			byPath[path] = append(byPath[path], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byPath {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		value, in, out := state.(string), input.(call), output.(answer)
		status, next := http.StatusOK, in.value
		switch {
		case in.method != http.MethodPut && value == "":
			status, next = http.StatusNotFound, ""
		case in.method == http.MethodGet:
			next = value
		case in.absent && value != "", in.match != "" && value != in.match:
			status, next = http.StatusPreconditionFailed, value
		case in.method == http.MethodPut && value == "":
			status = http.StatusCreated
		}
		return out.status == status && (!out.known || out.value == value), next
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// Two hundred writers of the same objects cannot get past each other. None of them deletes: an object that is there, gone
// and there again looks the same to all who find it gone, and no checker can sort such a history out in time.
func TestConditionalWritesAreLinearizable(t *testing.T) {
	const writers, objects, requests = 200, 40, 12
	a := newAPI(t)
	histories := make([][]porcupine.Operation, writers)
	start := time.Now()
	var all sync.WaitGroup
	for id := range writers {
		all.Go(func() {
			w := &writer{api: a, id: id, random: rand.New(rand.NewPCG(1, uint64(id)))}
			for range requests {
				w.act(fmt.Sprintf("/services/%d", w.random.IntN(objects)), start)
			}
			histories[id] = w.history
		})
	}
	all.Wait()
	var history []porcupine.Operation
	statuses := map[string]int{}
	// What a tag stands for is known when somebody has read it. A refusal for any other says next to nothing and makes the
	// history much harder to check.
	values := map[string]string{}
	for _, own := range histories {
		for _, op := range own {
			if in, out := op.Input.(call), op.Output.(answer); in.method == http.MethodGet && out.tag != "" {
				values[in.path+out.tag] = out.value
			}
		}
	}
	for _, own := range histories {
		for i, op := range own {
			out := op.Output.(answer)
			out.value, out.known = values[op.Input.(call).path+out.tag]
			if out.tag == "" && out.status >= 400 {
				out.value, out.known = "", true
			}
			own[i].Output = out
			if out.known || out.status < 400 {
				history = append(history, own[i])
			}
			statuses[fmt.Sprint(op.Input.(call).method, " ", op.Output.(answer).status)]++
		}
	}
	for _, wanted := range []string{"GET 200", "PUT 200", "PUT 201", "PUT 412", "PATCH 200", "PATCH 412"} {
		if statuses[wanted] == 0 {
			t.Errorf("no %s: the writers do not meet: %v", wanted, statuses)
		}
	}
	if result := porcupine.CheckOperationsTimeout(oneObject, history, time.Minute); result != porcupine.Ok {
		t.Errorf("%d requests: %v", len(history), result)
	}
	t.Logf("%d requests: %v", len(history), statuses)
}

type writer struct {
	api
	id      int
	random  *rand.Rand
	history []porcupine.Operation
	// tag is what the writer last read.
	tag string
}

// act reads the object and then changes it, if it is still what was read.
func (w *writer) act(path string, start time.Time) {
	read := w.send(call{method: http.MethodGet, path: path}, start)
	w.tag = read.tag
	c := call{method: http.MethodPut, path: path, match: read.value, value: fmt.Sprintf("%d-%d", w.id, len(w.history))}
	switch {
	case w.tag == "":
		c.absent = true
	case w.random.IntN(2) == 0:
		c.method = http.MethodPatch
	}
	// Let somebody else read the same.
	runtime.Gosched()
	w.send(c, start)
}

func (w *writer) send(c call, start time.Time) answer {
	var header []string
	if c.match != "" {
		header = []string{"If-Match", w.tag}
	}
	if c.absent {
		header = []string{"If-None-Match", "*"}
	}
	body := ""
	if c.value != "" {
		body = `{"name":"` + c.value + `"}`
	}
	called := time.Since(start)
	r := w.call(c.method, prefix+c.path, body, header...)
	returned := time.Since(start)
	out := answer{status: r.Code, tag: r.Header().Get("ETag")}
	if c.method == http.MethodGet {
		out.value, _ = stringOf(lookup(r.Body.Bytes(), "value", "name"))
	}
	w.history = append(w.history, porcupine.Operation{
		ClientId: w.id, Input: c, Call: int64(called), Output: out, Return: int64(returned),
	})
	return out
}
