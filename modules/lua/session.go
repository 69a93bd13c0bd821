// SPDX-License-Identifier: Apache-2.0

package lua

import (
	gopher "github.com/yuin/gopher-lua"
	"go.uber.org/zap"
)

// The stores of fields that an exchange has for Lua.
const (
	ctxFields = iota
	ngxCtxFields
)

// session is what the programs of one exchange keep there for each other: fields of ctx and ngx.ctx. States run for many
// exchanges, so none may hold a table that another one has too: what is kept is a copy.
type session struct {
	fields [2]map[string]any
	// held are the chunks of the response that programs keep back.
	held map[*Program][]byte
}

// sessionOf returns the exchange's session; without create it may be nil.
func (s *state) sessionOf(create bool) *session {
	if s.x == nil {
		return nil
	}
	slot := s.x.Scripts()
	kept, ok := (*slot).(*session)
	if !ok && create {
		kept = new(session)
		*slot = kept
	}
	return kept
}

// field returns a field, nil when there is none.
func (s *state) field(store int, name string) gopher.LValue {
	if v, ok := s.fields[store][name]; ok {
		return v
	}
	kept := s.sessionOf(false)
	if kept == nil {
		return nil
	}
	copied, ok := kept.fields[store][name]
	if !ok {
		return nil
	}
	v := s.thaw(copied)
	s.setField(store, name, v)
	return v
}

func (s *state) setField(store int, name string, v gopher.LValue) {
	if s.fields[store] == nil {
		s.fields[store] = make(map[string]gopher.LValue)
	}
	s.fields[store][name] = v
}

// keep copies the fields that the call has seen or set to the exchange.
func (s *state) keep() {
	for store := range s.fields {
		for name, v := range s.fields[store] {
			kept := s.sessionOf(true)
			if kept == nil {
				return
			}
			copied, ok := s.freeze(v, 0)
			if !ok {
				s.program.log().Warn("lua: a function is not kept in ctx from one phase to the next", zap.String("field", name))
			}
			if kept.fields[store] == nil {
				kept.fields[store] = make(map[string]any)
			}
			kept.fields[store][name] = copied
		}
	}
}

// frozen is a table that belongs to no state.
type frozen struct {
	keys   []gopher.LValue
	values []any
	array  bool
}

// maxFrozenDepth bounds tables within each other, and those that lie in themselves.
const maxFrozenDepth = 32

// freeze returns a copy of a value; ok is false when parts of it cannot be copied, which are then missing.
func (s *state) freeze(v gopher.LValue, depth int) (copied any, ok bool) {
	switch v := v.(type) {
	case *gopher.LFunction:
		return gopher.LNil, false
	case *gopher.LTable:
		if depth == maxFrozenDepth {
			return gopher.LNil, false
		}
		f, ok := &frozen{array: v.Metatable == gopher.LValue(arrayMeta)}, true
		eachKey(s.l, v, func(key, value gopher.LValue) {
			copied, whole := s.freeze(value, depth+1)
			switch key.(type) {
			case gopher.LString, gopher.LNumber, gopher.LBool:
				f.keys, f.values = append(f.keys, key), append(f.values, copied)
			default:
				whole = false
			}
			ok = ok && whole
		})
		return f, ok
	}
	// Texts and numbers do not change, and every userdata is one that all states share.
	return v, true
}

// thaw makes a value of the state's own.
func (s *state) thaw(copied any) gopher.LValue {
	f, ok := copied.(*frozen)
	if !ok {
		return copied.(gopher.LValue)
	}
	t := s.l.NewTable()
	if f.array {
		t.Metatable = arrayMeta
	}
	for i, key := range f.keys {
		t.RawSet(key, s.thaw(f.values[i]))
	}
	return t
}
