// SPDX-License-Identifier: Apache-2.0

// Package lua runs the Lua of configurations: filter functions of routes, serverless functions, templates of bodies.
//
// A source is compiled once, when the configuration changes; see [Load]. A [Program] runs functions in states of its own,
// which it keeps for the next call: locals outside of a function last from call to call, as they do in a worker of APISIX,
// and no program sees those of another. One state runs one call at a time.
//
// The machine is github.com/yuin/gopher-lua, Lua 5.1. What runs in it is bounded by [Limits] and has nothing to do with the
// system: no os, io, debug, package or coroutine, and nothing that loads code. README.md lists what there is of ngx and of
// APISIX's core.
package lua

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	gopher "github.com/yuin/gopher-lua"
	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// Phase is when a program runs: it decides what the program may do.
type Phase uint8

const (
	// Loading is when a source runs for the first time, to make its function. There is no request.
	Loading Phase = iota
	// Matching is when a route is looked for.
	Matching
	Rewrite
	Access
	BeforeProxy
	HeaderFilter
	BodyFilter
	Log
)

var phaseNames = [...]string{"init", "rewrite", "rewrite", "access", "balancer", "header_filter", "body_filter", "log"}

// String returns nginx's name for the phase, as ngx.get_phase does.
func (p Phase) String() string { return phaseNames[p] }

// mayWait reports whether functions may wait: they then run on a goroutine of their own.
func (p Phase) mayWait() bool { return p == Rewrite || p == Access }

// Program is some chunks that run in the same states. It is safe for concurrent use.
type Program struct {
	chunks []*Chunk
	// config is what functions get as conf; nil is nothing.
	config json.RawMessage
	log    func() *zap.Logger

	mu sync.Mutex
	// idle are the states that wait for a call, guarded by mu. The one that was used last is taken first.
	idle []*state
}

// maxIdle is how many states a program keeps. More may run at once.
const maxIdle = 64

// NewProgram returns a program for functions that get config, a JSON object, as their first argument. log is where they log.
func NewProgram(config json.RawMessage, log func() *zap.Logger, chunks ...*Chunk) *Program {
	if log == nil {
		log = zap.NewNop
	}
	return &Program{chunks: chunks, config: config, log: log}
}

// Check runs each chunk as it is run before its first call, and hands what it returned to accept.
func (p *Program) Check(accept func(typeName string, err error) error) error {
	s := newState(p)
	for _, chunk := range p.chunks {
		value, err := s.run(chunk)
		name := ""
		if err == nil {
			name = value.Type().String()
		}
		if err := accept(name, err); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether a chunk's table has a member of that name.
func (p *Program) has(name string) bool {
	s := newState(p)
	if s.load() != nil {
		return false
	}
	for _, f := range s.functions {
		if table, ok := f.(*gopher.LTable); ok && table.RawGetString(name) != gopher.LNil {
			return true
		}
	}
	return false
}

func (p *Program) take() *state {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	s := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	return s
}

func (p *Program) give(s *state) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) < maxIdle {
		p.idle = append(p.idle, s)
	}
}

// Outcome is what a call has decided about the request.
type Outcome struct {
	// Ended says that the request ends here.
	Ended bool
	// Status and Body are its answer; no body is that of the status.
	Status int
	Body   []byte
}

// Call runs the functions of the program in turn, for hooks: each gets the config and the context of the exchange, and the
// first one that returns something, or that ends the request, is the last. An error names the source and the line.
func (p *Program) Call(x *gateway.Exchange, phase Phase, limits Limits) (outcome Outcome, err error) {
	err = p.with(x, phase, limits, func(s *state) error {
		err := s.hooks()
		outcome = s.outcome()
		return err
	})
	return outcome, err
}

// CallMember is Call for programs whose chunks return tables: it runs the functions that these have as name, with the
// context alone.
func (p *Program) CallMember(x *gateway.Exchange, phase Phase, limits Limits, name string) (outcome Outcome, err error) {
	err = p.with(x, phase, limits, func(s *state) error {
		s.member = name
		err := s.hooks()
		outcome = s.outcome()
		return err
	})
	return outcome, err
}

// FilterBody is Call, or CallMember with a name, for one chunk of a response's body. ended says that the rest of the body is
// to be dropped.
func (p *Program) FilterBody(x *gateway.Exchange, chunk []byte, last bool, name string) (out []byte, ended bool, err error) {
	err = p.with(x, BodyFilter, OnLoop, func(s *state) error {
		s.member = name
		s.chunk, s.last = gopher.LString(chunk), last
		if err := s.hooks(); err != nil {
			return err
		}
		out, ended = chunk, s.last && !last
		if s.changed {
			out = []byte(s.chunk.(gopher.LString))
		}
		return nil
	})
	return out, ended, err
}

// Test calls the one function of a program with the variables of a request, and returns whether its result is true.
func (p *Program) Test(x *gateway.Exchange) (ok bool, err error) {
	err = p.with(x, Matching, OnLoop, func(s *state) error {
		results, err := s.call(s.functions[0], 1, varObject)
		ok = err == nil && gopher.LVAsBool(results[0])
		return err
	})
	return ok, err
}

// with runs f with a state that belongs to the exchange meanwhile.
func (p *Program) with(x *gateway.Exchange, phase Phase, limits Limits, f func(s *state) error) error {
	s := p.take()
	if s == nil {
		s = newState(p)
		if err := s.load(); err != nil {
			return err
		}
	}
	s.begin(x, phase, limits)
	err := protect(func() error {
		err := f(s)
		s.keep()
		return err
	})
	s.end()
	// A state is good for another call unless it was the machine that failed, and not what it ran.
	if !errors.As(err, new(*machineError)) {
		p.give(s)
	}
	return err
}

// machineError says that the machine failed, and not what it ran.
type machineError struct{ error }

// protect runs f and returns what it throws.
func protect(f func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *gopher.ApiError:
			err = plain(p)
		default:
			err = &machineError{fmt.Errorf("internal error: %v", p)}
		}
	}()
	return f()
}

// plain returns an error without the machine's trace of its stack.
func plain(err error) error {
	var failed *gopher.ApiError
	switch {
	case !errors.As(err, &failed) || failed.Object == nil:
		return err
	case failed.Type == gopher.ApiErrorPanic:
		return &machineError{fmt.Errorf("internal error: %s", failed.Object)}
	}
	return errors.New(failed.Object.String())
}
