// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"bytes"
	"context"
	"errors"

	gopher "github.com/yuin/gopher-lua"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
)

// state is one machine with the functions of one program. It belongs to one goroutine at a time. Library functions find it
// as the context that their machine runs under.
type state struct {
	budget
	l       *gopher.LState
	program *Program
	// functions are what the chunks returned, config what they get first.
	functions []gopher.LValue
	config    gopher.LValue
	// variables are those that were asked for, compiled.
	variables map[string]expr.Var
	// regexes are the patterns that were used.
	regexes map[string]*regex
	// names are those of a template, nil in other states.
	names *names

	// What follows is that of the running call.
	x     *gateway.Exchange
	phase Phase
	// fields are those of ctx and of ngx.ctx that the call has seen or set.
	fields [2]map[string]gopher.LValue
	// output is what was printed; printed tells nothing from an empty text.
	output  []byte
	printed bool
	// ended says that the request ends; left, that it goes on without the rest of the program.
	ended, left bool
	status      int
	// chunk and last are ngx.arg in a body filter.
	chunk gopher.LValue
	last  bool
	// changed says that the chunk is not what it was.
	changed bool
	// member is the name of the function in what the chunks returned; "" is that itself.
	member string
}

const (
	callStackSize   = 200
	registrySize    = 256
	maxRegistrySize = 64 << 10
)

func stateOf(l *gopher.LState) *state { return l.Context().(*state) }

func newState(p *Program) *state {
	l := gopher.NewState(gopher.Options{
		SkipOpenLibs: true, CallStackSize: callStackSize, MinimizeStackMemory: true,
		RegistrySize: registrySize, RegistryMaxSize: maxRegistrySize, RegistryGrowStep: registrySize,
	})
	s := &state{l: l, program: p}
	l.SetContext(s)
	l.SetMetatable(gopher.LString(""), stringMeta)
	l.Env = l.NewTable()
	environment := l.NewTable()
	environment.RawSetString("__index", base)
	environment.RawSetString("__metatable", gopher.LFalse)
	l.Env.Metatable = environment
	l.Env.RawSetString("_G", l.Env)
	l.Env.RawSetString(concatName, base.RawGetString(concatName))
	return s
}

// load makes the functions and the config.
func (s *state) load() error {
	for _, chunk := range s.program.chunks {
		f, err := s.run(chunk)
		if err != nil {
			return err
		}
		s.functions = append(s.functions, f)
	}
	return nil
}

// run runs a chunk and returns its first result.
func (s *state) run(chunk *Chunk) (gopher.LValue, error) {
	s.begin(nil, Loading, Apart)
	defer s.end()
	results, err := s.call(s.l.NewFunctionFromProto(chunk.proto), 1)
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

func (s *state) begin(x *gateway.Exchange, phase Phase, limits Limits) {
	s.x, s.phase = x, phase
	var client context.Context
	if x != nil && phase.mayWait() {
		client = x.Context()
	}
	s.budget.begin(limits, client)
}

// end forgets the exchange.
func (s *state) end() {
	s.l.SetTop(0)
	s.x, s.client = nil, nil
	clear(s.fields[0])
	clear(s.fields[1])
	s.output, s.printed, s.ended, s.left, s.status = nil, false, false, false, 0
	s.chunk, s.last, s.changed, s.member = nil, false, false, ""
}

// call calls a function and returns n results.
func (s *state) call(f gopher.LValue, n int, args ...gopher.LValue) ([]gopher.LValue, error) {
	s.l.Push(f)
	for _, arg := range args {
		s.l.Push(arg)
	}
	if err := s.l.PCall(len(args), n, nil); err != nil && s.why != errEnded {
		return nil, plain(err)
	}
	results := make([]gopher.LValue, n)
	if s.why == nil {
		for i := range results {
			results[i] = s.l.Get(i - n)
		}
		s.l.Pop(n)
		return results, nil
	}
	for i := range results {
		results[i] = gopher.LNil
	}
	return results, nil
}

// errEnded ends a call that has ended the request.
var errEnded = errors.New("the request has ended")

// hooks calls the functions as a plugin's are called, one after the other until one ends the request.
func (s *state) hooks() error {
	for _, f := range s.functions {
		if s.ended || s.left {
			break
		}
		if s.member != "" {
			table, ok := f.(*gopher.LTable)
			if !ok || table.RawGetString(s.member) == gopher.LNil {
				continue
			}
			if _, err := s.call(table.RawGetString(s.member), 0, ctxObject); err != nil {
				return err
			}
			continue
		}
		results, err := s.call(f, 2, s.conf(), ctxObject)
		if err != nil {
			return err
		}
		if code, body := results[0], results[1]; !s.ended && (code != gopher.LNil || body != gopher.LNil) {
			s.exit(code, body)
		}
	}
	return nil
}

// conf returns the config as a table that functions may change, for as long as the state lasts.
func (s *state) conf() gopher.LValue {
	if s.config == nil {
		s.config = gopher.LNil
		if len(bytes.TrimSpace(s.program.config)) > 0 {
			s.config, _ = decodeJSON(s.l, string(s.program.config))
		}
	}
	return s.config
}

// exit ends the request as APISIX's core.response.exit does: a code that is no number is a part of the body.
func (s *state) exit(code gopher.LValue, parts ...gopher.LValue) {
	if n, ok := code.(gopher.LNumber); ok {
		s.setStatus(int(n))
	} else if code != gopher.LNil {
		s.print(code)
	}
	for _, part := range parts {
		if part != gopher.LNil {
			s.print(part)
		}
	}
	s.ended = true
}

// setStatus sets the status of the answer, unless a part of the body has gone before.
func (s *state) setStatus(status int) {
	if !s.printed {
		s.status = status
	}
}

// print appends a part of the body. A table is JSON and a line end.
func (s *state) print(part gopher.LValue) {
	s.printed = true
	if table, ok := part.(*gopher.LTable); ok {
		encoded, err := encodeJSON(s.l, table)
		if err != nil {
			s.l.RaiseError("failed to encode data: %s", err.Error())
		}
		s.output = append(append(s.output, encoded...), '\n')
		return
	}
	text := toText(s.l, part)
	s.spendBytes(s.l, len(text))
	s.output = append(s.output, text...)
}

// outcome is what has been decided. Printing alone ends a request too: in OpenResty its head has gone.
func (s *state) outcome() Outcome {
	if !s.ended && !s.printed {
		return Outcome{}
	}
	o := Outcome{Ended: true, Status: s.status}
	switch {
	case o.Status == 0:
		o.Status = 200
	case o.Status < 200 || o.Status > 999:
		o.Status = 500
	}
	if s.printed {
		o.Body = append([]byte{}, s.output...)
	}
	return o
}

var _ context.Context = (*state)(nil)
