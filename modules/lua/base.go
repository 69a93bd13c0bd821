// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"math/rand/v2"
	"sort"
	"strings"

	gopher "github.com/yuin/gopher-lua"
)

// kept are the functions of the machine's own that are fit for the sandbox.
var kept = [...]string{
	"assert", "error", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawset", "select", "tonumber", "type", "unpack",
	"xpcall",
}

func init() {
	// Arrays hold their holes too, so that one assignment far behind the end of a small table could take any amount of memory;
	// beyond this index elements are hashed.
	gopher.MaxArrayIndex = 1 << 20
	full := gopher.NewState()
	for _, name := range kept {
		base.RawSetString(name, full.GetGlobal(name))
	}
	for name, f := range (functions{
		"getmetatable": getMetatable, "setmetatable": setMetatable, "print": printLine, "require": require, "tostring": toString,
		concatName: concat,
	}) {
		base.RawSetString(name, workshop.NewFunction(f))
	}
	base.RawSetString("_VERSION", gopher.LString("Lua 5.1"))

	math := newLibrary("math")
	full.GetGlobal("math").(*gopher.LTable).ForEach(func(name, f gopher.LValue) {
		math.constant(name.String(), f)
	})
	for name, f := range (functions{"random": mathRandom, "randomseed": mathRandomSeed}) {
		math.constant(name, workshop.NewFunction(f))
	}
	math.global("math")
	newLibrary("table", tableFunctions).global("table")
	for name, f := range (functions{
		"table.new": tableNew, "table.clear": tableClear, "table.nkeys": tableKeys, "table.isempty": tableIsEmpty,
		"table.isarray": tableIsArray, "table.clone": tableClone,
	}) {
		callable(name, f)
	}
}

// callable is a module that is one function, as LuaJIT's "table.new" is.
func callable(name string, f gopher.LGFunction) {
	lib := newLibrary(name).module(name)
	lib.meta("__call", func(l *gopher.LState) int {
		l.Remove(1)
		return f(l)
	})
}

func getMetatable(l *gopher.LState) int {
	switch v := l.CheckAny(1).(type) {
	case gopher.LString:
		l.Push(gopher.LFalse)
	case *gopher.LTable, *gopher.LUserData:
		if protected := l.GetMetaField(v, "__metatable"); protected != gopher.LNil {
			l.Push(protected)
			break
		}
		l.Push(l.GetMetatable(v))
	default:
		l.Push(gopher.LNil)
	}
	return 1
}

func setMetatable(l *gopher.LState) int {
	table := l.CheckTable(1)
	meta := l.Get(2)
	if meta == gopher.LValue(arrayMark) {
		meta = arrayMeta
	}
	if meta != gopher.LNil && meta.Type() != gopher.LTTable || l.GetTop() < 2 {
		l.ArgError(2, "nil or table expected")
	}
	if table.Metatable != gopher.LValue(arrayMeta) && l.GetMetaField(table, "__metatable") != gopher.LNil {
		l.RaiseError("cannot change a protected metatable")
	}
	l.SetMetatable(table, meta)
	l.Push(table)
	return 1
}

func toString(l *gopher.LState) int { return push(l, toText(l, l.CheckAny(1))) }

// require returns a module that the sandbox has; there are no files to load one from.
func require(l *gopher.LState) int {
	name := l.CheckString(1)
	if lib := modules[name]; lib != nil {
		l.Push(lib.value)
		return 1
	}
	l.RaiseError("module '%s' not found", name)
	return 0
}

// printLine logs, as OpenResty's print does.
func printLine(l *gopher.LState) int {
	logArguments(l, levelNotice, 1)
	return 0
}

func mathRandom(l *gopher.LState) int {
	low, high := 1, 0
	switch l.GetTop() {
	case 0:
		l.Push(gopher.LNumber(rand.Float64()))
		return 1
	case 1:
		high = l.CheckInt(1)
	default:
		low, high = l.CheckInt(1), l.CheckInt(2)
	}
	if low > high || high-low < 0 {
		l.ArgError(l.GetTop(), "interval is empty")
	}
	l.Push(gopher.LNumber(low + rand.IntN(high-low+1)))
	return 1
}

// mathRandomSeed does nothing: the numbers are as random as they can be.
func mathRandomSeed(*gopher.LState) int { return 0 }

var tableFunctions = functions{
	"concat": tableConcat, "insert": tableInsert, "remove": tableRemove, "sort": tableSort, "maxn": tableMaxN, "getn": tableLen,
	"new": tableNew, "clear": tableClear, "nkeys": tableKeys, "isempty": tableIsEmpty, "isarray": tableIsArray, "clone": tableClone,
	"unpack": tableUnpack,
}

func tableConcat(l *gopher.LState) int {
	t, separator := l.CheckTable(1), l.OptString(2, "")
	from, to := l.OptInt(3, 1), l.OptInt(4, t.Len())
	s := stateOf(l)
	var b strings.Builder
	for i := from; i <= to; i++ {
		s.spend(l, 1)
		v := t.RawGetInt(i)
		if !gopher.LVCanConvToString(v) {
			l.RaiseError("invalid value (%s) at index %d in table for 'concat'", v.Type().String(), i)
		}
		text := toText(l, v)
		s.spendBytes(l, len(text)+len(separator))
		b.WriteString(text)
		if i < to {
			b.WriteString(separator)
		}
	}
	l.Push(gopher.LString(b.String()))
	return 1
}

func tableInsert(l *gopher.LState) int {
	t := l.CheckTable(1)
	switch l.GetTop() {
	case 2:
		t.Append(l.Get(2))
	case 3:
		at, n := l.CheckInt(2), t.Len()
		stateOf(l).spend(l, max(n-at, 0)/8)
		if at < 1 || at > n {
			l.RawSetInt(t, at, l.Get(3))
			break
		}
		t.Insert(at, l.Get(3))
	default:
		l.RaiseError("wrong number of arguments to 'insert'")
	}
	return 0
}

func tableRemove(l *gopher.LState) int {
	t := l.CheckTable(1)
	n := t.Len()
	at := l.OptInt(2, n)
	if n == 0 || at < 1 || at > n {
		l.Push(gopher.LNil)
		return 1
	}
	stateOf(l).spend(l, (n-at)/8)
	l.Push(t.Remove(at))
	return 1
}

func tableMaxN(l *gopher.LState) int {
	l.Push(gopher.LNumber(l.CheckTable(1).MaxN()))
	return 1
}

func tableLen(l *gopher.LState) int {
	l.Push(gopher.LNumber(l.CheckTable(1).Len()))
	return 1
}

func tableUnpack(l *gopher.LState) int {
	l.Insert(base.RawGetString("unpack"), 1)
	l.Call(l.GetTop()-1, gopher.MultRet)
	return l.GetTop()
}

// tableNew is table.new(narray, nhash); the numbers are but a hint.
func tableNew(l *gopher.LState) int {
	l.Push(l.NewTable())
	return 1
}

// eachKey calls f with every key and value; f may remove the key.
func eachKey(l *gopher.LState, t *gopher.LTable, f func(key, value gopher.LValue)) {
	s := stateOf(l)
	for key, value := t.Next(gopher.LNil); key != gopher.LNil; key, value = t.Next(key) {
		s.spend(l, 1)
		f(key, value)
	}
}

func tableClear(l *gopher.LState) int {
	t := l.CheckTable(1)
	var keys []gopher.LValue
	eachKey(l, t, func(key, _ gopher.LValue) { keys = append(keys, key) })
	for i := len(keys) - 1; i >= 0; i-- {
		t.RawSet(keys[i], gopher.LNil)
	}
	return 0
}

func tableKeys(l *gopher.LState) int {
	n := 0
	eachKey(l, l.CheckTable(1), func(gopher.LValue, gopher.LValue) { n++ })
	l.Push(gopher.LNumber(n))
	return 1
}

func tableIsEmpty(l *gopher.LState) int {
	key, _ := l.CheckTable(1).Next(gopher.LNil)
	l.Push(gopher.LBool(key == gopher.LNil))
	return 1
}

func tableIsArray(l *gopher.LState) int {
	t := l.CheckTable(1)
	n, keys := t.Len(), 0
	eachKey(l, t, func(gopher.LValue, gopher.LValue) { keys++ })
	l.Push(gopher.LBool(keys == n))
	return 1
}

func tableClone(l *gopher.LState) int {
	t := l.CheckTable(1)
	clone := l.NewTable()
	eachKey(l, t, clone.RawSet)
	l.Push(clone)
	return 1
}

// sorter sorts the first n elements of a table. Its comparisons cost steps.
type sorter struct {
	l     *gopher.LState
	state *state
	t     *gopher.LTable
	less  *gopher.LFunction
	n     int
}

func (s *sorter) Len() int { return s.n }

func (s *sorter) Swap(i, j int) {
	a, b := s.t.RawGetInt(i+1), s.t.RawGetInt(j+1)
	s.t.RawSetInt(i+1, b)
	s.t.RawSetInt(j+1, a)
}

func (s *sorter) Less(i, j int) bool {
	s.state.spend(s.l, 1)
	a, b := s.t.RawGetInt(i+1), s.t.RawGetInt(j+1)
	if s.less == nil {
		return s.l.LessThan(a, b)
	}
	s.l.Push(s.less)
	s.l.Push(a)
	s.l.Push(b)
	s.l.Call(2, 1)
	less := s.l.ToBool(-1)
	s.l.Pop(1)
	return less
}

func tableSort(l *gopher.LState) int {
	s := &sorter{l: l, state: stateOf(l), t: l.CheckTable(1)}
	if l.GetTop() > 1 && l.Get(2) != gopher.LNil {
		s.less = l.CheckFunction(2)
	}
	s.n = s.t.Len()
	sort.Sort(s)
	return 0
}
