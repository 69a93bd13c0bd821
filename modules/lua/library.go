// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"slices"

	gopher "github.com/yuin/gopher-lua"
)

// library is a set of functions and constants that every state shares. To Lua it is a userdata rather than a table, so that
// nothing can change it. It is immutable after init.
type library struct {
	name    string
	members *gopher.LTable
	parts   map[string]*library
	// dynamic are the members that are computed.
	dynamic []string
	value   *gopher.LUserData
}

func (l *library) has(name string) bool {
	return l.members.RawGetString(name) != gopher.LNil || slices.Contains(l.dynamic, name)
}

// globals are the libraries that are there without being required; modules those that can be required.
var (
	globals = map[string]*library{}
	modules = map[string]*library{}
	// base is what an environment lacks: the libraries and the functions without one.
	base = workshop.NewTable()
)

// missingGlobals are the parts of Lua that the sandbox lacks, with what to use in their place.
var missingGlobals = map[string]string{
	"os": ": use ngx.time, ngx.now or ngx.localtime", "io": "", "debug": "", "package": "", "coroutine": "", "ffi": "", "jit": "",
	"load": "", "loadstring": "", "loadfile": "", "dofile": "", "module": "", "setfenv": "", "getfenv": "", "newproxy": "",
	"collectgarbage": "",
}

// workshop makes the values that states share. Nothing runs in it.
var workshop = gopher.NewState(gopher.Options{SkipOpenLibs: true, CallStackSize: 64, RegistrySize: 256})

// functions are members by name.
type functions map[string]gopher.LGFunction

func newLibrary(name string, sets ...functions) *library {
	l := &library{name: name, members: workshop.NewTable(), parts: map[string]*library{}}
	for _, set := range sets {
		for member, f := range set {
			l.members.RawSetString(member, workshop.NewFunction(f))
		}
	}
	meta := workshop.NewTable()
	meta.RawSetString("__index", l.members)
	meta.RawSetString("__newindex", workshop.NewFunction(refuseChange))
	meta.RawSetString("__metatable", gopher.LFalse)
	l.value = &gopher.LUserData{Value: l, Metatable: meta}
	return l
}

func refuseChange(l *gopher.LState) int {
	if lib, ok := l.CheckUserData(1).Value.(*library); ok {
		l.RaiseError("%s.%s cannot be set", lib.name, l.Get(2).String())
	}
	l.RaiseError("'%s' cannot be set", l.Get(2).String())
	return 0
}

// part makes a library a member of another one.
func (l *library) part(name string, part *library) *library {
	l.members.RawSetString(name, part.value)
	l.parts[name] = part
	return l
}

func (l *library) constant(name string, value gopher.LValue) *library {
	l.members.RawSetString(name, value)
	return l
}

// meta sets a metamethod.
func (l *library) meta(event string, f gopher.LGFunction) *library {
	l.value.Metatable.(*gopher.LTable).RawSetString(event, workshop.NewFunction(f))
	return l
}

// computed makes members come from f, which is called with the library and the name.
func (l *library) computed(f gopher.LGFunction, names ...string) *library {
	meta := workshop.NewTable()
	meta.RawSetString("__index", workshop.NewFunction(f))
	l.members.Metatable = meta
	l.dynamic = names
	return l
}

func (l *library) global(name string) {
	globals[name] = l
	base.RawSetString(name, l.value)
}

func (l *library) module(names ...string) *library {
	for _, name := range names {
		modules[name] = l
	}
	return l
}

// object makes a userdata that stands for something of the running exchange: which, index and newIndex know from the state
// that they are called in.
func object(index, newIndex gopher.LGFunction) *gopher.LUserData {
	meta := workshop.NewTable()
	meta.RawSetString("__index", workshop.NewFunction(index))
	meta.RawSetString("__newindex", workshop.NewFunction(newIndex))
	meta.RawSetString("__metatable", gopher.LFalse)
	return &gopher.LUserData{Metatable: meta}
}
