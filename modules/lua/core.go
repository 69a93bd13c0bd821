// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"strings"

	gopher "github.com/yuin/gopher-lua"

	"github.com/andogate/ando/modules/expr"
)

func init() {
	log := functions{"delay_exec": delayExec}
	for name, level := range map[string]int{
		"emerg": 1, "alert": 2, "crit": 3, "error": levelErr, "warn": levelWarn, "notice": levelNotice, "info": levelInfo, "debug": levelDebug,
	} {
		log[name] = func(l *gopher.LState) int {
			logArguments(l, level, 1)
			return 0
		}
	}
	json := newLibrary("core.json", functions{"encode": jsonEncodeSafe, "decode": jsonDecodeSafe, "delay_encode": delayEncode})
	json.constant("array_mt", arrayMark)
	response := newLibrary("core.response", functions{
		"exit": responseExit, "say": responseSay, "set_header": responseSetHeader, "add_header": responseAddHeader,
		"get_upstream_status": upstreamStatus, "clear_header_as_body_modified": clearBodyFields, "hold_body_chunk": holdBodyChunk,
		"set_response_source": nothing,
	})
	core := newLibrary("core")
	for name, part := range map[string]*library{
		"request": coreRequest, "response": response, "json": json, "log": newLibrary("core.log", log),
		"table": newLibrary("core.table", tableFunctions, functions{
			"deepcopy": tableDeepCopy, "insert_tail": tableInsertTail, "set": tableSet, "array_find": arrayFind, "try_read_attr": tryReadAttr,
		}),
		"string": newLibrary("core.string", stringFunctions, functions{
			"find": coreFind, "has_prefix": hasPrefix, "has_suffix": hasSuffix, "rfind_char": rfindChar,
		}),
		"utils": newLibrary("core.utils", functions{"resolve_var": resolveVar}),
	} {
		core.part(name, part.module("apisix.core."+name))
	}
	core.constant("empty_tab", emptyTable)
	core.module("apisix.core")
}

// emptyTable is core.empty_tab: a value that has no fields and can have none.
var emptyTable = object(nilResult, refuseChange)

func responseExit(l *gopher.LState) int {
	s := stateOf(l)
	s.only(l, Loading, Rewrite, Access)
	code := l.Get(1)
	var parts []gopher.LValue
	for i := 2; i <= l.GetTop(); i++ {
		parts = append(parts, l.Get(i))
	}
	s.exit(code, parts...)
	if code.Type() != gopher.LTNumber {
		s.ended = false
		return 0
	}
	return s.leave(l)
}

func responseSay(l *gopher.LState) int {
	s := stateOf(l)
	s.only(l, Loading, Rewrite, Access)
	for i := 1; i <= l.GetTop(); i++ {
		if v := l.Get(i); v != gopher.LNil {
			s.print(v)
		}
	}
	return 0
}

// setResponseFields takes a name and a value, several of them, or a table.
func setResponseFields(l *gopher.LState, override bool) int {
	h := &withRequest(l).x.Response.Header
	if t, ok := l.Get(1).(*gopher.LTable); ok {
		eachKey(l, t, func(name, value gopher.LValue) { setHeader(l, h, toText(l, name), value, override) })
		return 0
	}
	for i := 1; i <= l.GetTop(); i += 2 {
		setHeader(l, h, l.CheckString(i), l.Get(i+1), override)
	}
	return 0
}

func responseSetHeader(l *gopher.LState) int { return setResponseFields(l, true) }
func responseAddHeader(l *gopher.LState) int { return setResponseFields(l, false) }

// upstreamStatus is the status of the last attempt.
func upstreamStatus(l *gopher.LState) int {
	attempts := withRequest(l).x.Forward.Attempts
	if len(attempts) == 0 || attempts[len(attempts)-1].Status == 0 {
		return nilResult(l)
	}
	l.Push(gopher.LNumber(attempts[len(attempts)-1].Status))
	return 1
}

func clearBodyFields(l *gopher.LState) int {
	withRequest(l).x.Response.ClearBodyFields()
	return 0
}

// holdBodyChunk keeps chunks back until the body is complete, and then returns all of it; with a limit, what there is as soon
// as that is reached.
func holdBodyChunk(l *gopher.LState) int {
	s := withRequest(l)
	s.only(l, BodyFilter)
	kept := s.sessionOf(true)
	if kept.held == nil {
		kept.held = make(map[*Program][]byte)
	}
	text, _ := s.chunk.(gopher.LString)
	held := append(kept.held[s.program], text...)
	most := l.OptInt(3, 0)
	s.spendBytes(l, len(text))
	if full := most > 0 && len(held) >= most; s.last || full {
		if full {
			held = held[:most]
		}
		delete(kept.held, s.program)
		return push(l, string(held))
	}
	kept.held[s.program] = held
	if !l.ToBool(2) {
		s.chunk, s.changed = gopher.LString(""), true
	}
	return nilResult(l)
}

// delayEncode is what core.json.delay_encode gives: APISIX's encodes only what is logged.
func delayEncode(l *gopher.LState) int {
	out, err := encodeJSON(l, l.CheckAny(1))
	if err != nil {
		out = []byte(err.Error())
	}
	l.Push(gopher.LString(out))
	return 1
}

// delayExec calls the function with its arguments now.
func delayExec(l *gopher.LState) int {
	n := l.GetTop()
	l.CheckFunction(1)
	l.Call(n-1, 1)
	return 1
}

func tableDeepCopy(l *gopher.LState) int {
	l.Push(deepCopy(l, l.CheckAny(1), 0))
	return 1
}

func deepCopy(l *gopher.LState, v gopher.LValue, depth int) gopher.LValue {
	t, ok := v.(*gopher.LTable)
	if !ok {
		return v
	}
	if depth == maxFrozenDepth {
		l.RaiseError("table is too deep to copy")
	}
	copied := l.NewTable()
	copied.Metatable = t.Metatable
	eachKey(l, t, func(key, value gopher.LValue) { copied.RawSet(key, deepCopy(l, value, depth+1)) })
	return copied
}

func tableInsertTail(l *gopher.LState) int {
	t := l.CheckTable(1)
	for i := 2; i <= l.GetTop(); i++ {
		t.Append(l.Get(i))
	}
	l.Push(gopher.LNumber(t.Len()))
	return 1
}

func tableSet(l *gopher.LState) int {
	t := l.CheckTable(1)
	for i := 2; i <= l.GetTop(); i++ {
		t.RawSetInt(i-1, l.Get(i))
	}
	return 0
}

func arrayFind(l *gopher.LState) int {
	t, ok := l.Get(1).(*gopher.LTable)
	if !ok {
		return nilResult(l)
	}
	for i := 1; i <= t.Len(); i++ {
		stateOf(l).spend(l, 1)
		if l.Equal(t.RawGetInt(i), l.Get(2)) {
			l.Push(gopher.LNumber(i))
			return 1
		}
	}
	return nilResult(l)
}

func tryReadAttr(l *gopher.LState) int {
	v := l.Get(1)
	for i := 2; i <= l.GetTop(); i++ {
		t, ok := v.(*gopher.LTable)
		if !ok {
			return nilResult(l)
		}
		v = t.RawGet(l.Get(i))
	}
	l.Push(v)
	return 1
}

// coreFind finds text as it is.
func coreFind(l *gopher.LState) int {
	s := l.CheckString(1)
	from := startOf(l, len(s))
	if from > len(s) {
		return nilResult(l)
	}
	return pushPlain(l, s, l.CheckString(2), from)
}

func hasPrefix(l *gopher.LState) int {
	l.Push(gopher.LBool(strings.HasPrefix(l.CheckString(1), l.CheckString(2))))
	return 1
}

func hasSuffix(l *gopher.LState) int {
	l.Push(gopher.LBool(strings.HasSuffix(l.CheckString(1), l.CheckString(2))))
	return 1
}

func rfindChar(l *gopher.LState) int {
	s := l.CheckString(1)
	end := min(max(l.OptInt(3, len(s)), 0), len(s))
	if i := strings.LastIndex(s[:end], l.CheckString(2)); i >= 0 {
		l.Push(gopher.LNumber(i + 1))
		return 1
	}
	return nilResult(l)
}

// resolveVar resolves the variables of a template.
func resolveVar(l *gopher.LState) int {
	s := withRequest(l)
	return push(l, string(expr.ParseTemplate(l.CheckString(1)).Append(nil, s.x)))
}
