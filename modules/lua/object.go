// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"strings"

	gopher "github.com/yuin/gopher-lua"
	"golang.org/x/net/http/httpguts"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
)

// The objects of the running exchange. Every state has the same ones.
var (
	ctxObject    = object(ctxIndex, ctxNewIndex)
	ngxCtxObject = object(ngxCtxIndex, ngxCtxNewIndex)
	varObject    = object(varIndex, varNewIndex)
	headerObject = object(headerIndex, headerNewIndex)
	argObject    = object(argIndex, argNewIndex)
	apiRoute     = object(routeIndex, refuseChange)
)

// withRequest returns the state of a call that has a request.
func withRequest(l *gopher.LState) *state {
	s := stateOf(l)
	if s.x == nil {
		l.RaiseError("no request found")
	}
	return s
}

// pushText gives a text of the exchange's as the one result. The exchange uses its memory again, so it is copied.
func pushText(l *gopher.LState, text string, ok bool) int {
	if !ok {
		l.Push(gopher.LNil)
		return 1
	}
	return push(l, strings.Clone(text))
}

func ctxIndex(l *gopher.LState) int {
	s, name := stateOf(l), l.Get(2).String()
	if s.x == nil {
		l.Push(gopher.LNil)
		return 1
	}
	if v := s.field(ctxFields, name); v != nil {
		l.Push(v)
		return 1
	}
	x := s.x
	switch name {
	case "var":
		l.Push(varObject)
	case "matched_route":
		if x.Route == nil {
			l.Push(gopher.LNil)
			break
		}
		l.Push(apiRoute)
	case "curr_req_matched":
		t := l.NewTable()
		t.RawSetString("_path", gopher.LString(x.MatchedURI))
		t.RawSetString("_host", gopher.LString(x.MatchedHost))
		for _, p := range x.Params {
			t.RawSetString(strings.Clone(p.Name), gopher.LString(strings.Clone(p.Value)))
		}
		l.Push(t)
	case "consumer_name", "route_id", "route_name", "service_id", "service_name", "consumer_group_id":
		text, ok := s.variable(name)
		return pushText(l, text, ok && text != "")
	case "consumer":
		if x.Consumer == nil {
			l.Push(gopher.LNil)
			break
		}
		consumer, err := decodeJSON(l, string(x.Consumer.Object.Value))
		if err != nil {
			consumer = gopher.LNil
		}
		l.Push(consumer)
	default:
		l.Push(gopher.LNil)
	}
	return 1
}

func ctxNewIndex(l *gopher.LState) int { return setStored(l, ctxFields) }

func setStored(l *gopher.LState, store int) int {
	name, ok := l.Get(2).(gopher.LString)
	if !ok {
		l.RaiseError("ctx takes fields with names, not %s", l.Get(2).Type().String())
	}
	withRequest(l).setField(store, string(name), l.Get(3))
	return 0
}

func ngxCtxIndex(l *gopher.LState) int {
	s, name := stateOf(l), l.Get(2).String()
	var v gopher.LValue
	if s.x != nil {
		v = s.field(ngxCtxFields, name)
	}
	switch {
	case v != nil:
		l.Push(v)
	case name == "api_ctx":
		l.Push(ctxObject)
	default:
		l.Push(gopher.LNil)
	}
	return 1
}

func ngxCtxNewIndex(l *gopher.LState) int { return setStored(l, ngxCtxFields) }

// routeIndex is ctx.matched_route: its key and the object as it is stored.
func routeIndex(l *gopher.LState) int {
	s := withRequest(l)
	id := s.x.Route.ID
	switch l.Get(2).String() {
	case "key":
		return push(l, "/apisix/routes/"+id)
	case "value":
		if o, ok := s.x.Table.Object(gateway.Routes, id); ok {
			v, err := decodeJSON(l, string(o.Value))
			if err == nil {
				l.Push(v)
				return 1
			}
		}
	}
	l.Push(gopher.LNil)
	return 1
}

// maxVariables is how many variables a state keeps compiled.
const maxVariables = 256

// variable reads a variable. One that rests on the request's body makes a function that may wait read it.
func (s *state) variable(name string) (text string, ok bool) {
	read := s.variables[name]
	if read == nil {
		if s.variables == nil || len(s.variables) == maxVariables {
			s.variables = make(map[string]expr.Var)
		}
		read = expr.Variable(name)
		s.variables[name] = read
	}
	if s.phase.mayWait() && (strings.HasPrefix(name, "post_arg") || strings.HasPrefix(name, "graphql_") || name == "request_body") {
		_, _ = s.x.Body()
	}
	return read(s.x)
}

func varIndex(l *gopher.LState) int {
	s, name := stateOf(l), l.Get(2).String()
	if s.x == nil {
		l.Push(gopher.LNil)
		return 1
	}
	text, ok := s.variable(name)
	return pushText(l, text, ok)
}

func varNewIndex(l *gopher.LState) int {
	s, name := withRequest(l), l.Get(2).String()
	value := ""
	if v := l.Get(3); v != gopher.LNil {
		value = toText(l, v)
	}
	switch f := &s.x.Forward; name {
	case "upstream_uri":
		f.Target = escapeTarget(value)
	case "upstream_host":
		f.Host = fieldValue(value)
	case "upstream_scheme":
		switch value {
		case "http", "https", "grpc", "grpcs":
			f.Scheme = value
		default:
			l.RaiseError("upstream_scheme must be http, https, grpc or grpcs, got %s", value)
		}
	case "args":
		s.setQuery(escapeTarget(value))
	default:
		if expr.IsBuiltin(name) {
			l.RaiseError("variable \"%s\" not changeable", name)
		}
		s.x.SetVar(strings.Clone(name), value)
	}
	return 0
}

// setQuery changes the query that is forwarded.
func (s *state) setQuery(query string) {
	s.x.Request.Query = query
	if path, _, ok := strings.Cut(s.x.Forward.Target, "?"); ok || path != "" {
		s.x.Forward.Target = withQuery(path, query)
	}
}

func withQuery(path, query string) string {
	if query == "" {
		return path
	}
	return path + "?" + query
}

// fieldName is how a name such as content_type is that of a field.
func fieldName(name string) string { return strings.ReplaceAll(name, "_", "-") }

// fieldValue keeps a value from beginning another line.
func fieldValue(text string) string {
	if httpguts.ValidHeaderFieldValue(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

// isFraming reports whether a field concerns the connection or says where a body ends: those are the wire's.
func isFraming(name string) bool {
	for _, own := range [...]string{"Connection", "Content-Length", "Keep-Alive", "Trailer", "Transfer-Encoding", "Upgrade"} {
		if gateway.EqualFold(name, own) {
			return true
		}
	}
	return false
}

// setField gives a field of a header a value: a text, a number, or several in a table; nil removes it.
func setHeader(l *gopher.LState, h *gateway.Header, name string, value gopher.LValue, override bool) {
	if !httpguts.ValidHeaderFieldName(name) {
		l.RaiseError("invalid header name %q", name)
	}
	name = strings.Clone(name)
	if override && (value == gopher.LNil || !isFraming(name)) {
		h.Del(name)
	}
	if isFraming(name) {
		return
	}
	switch v := value.(type) {
	case *gopher.LNilType:
	case *gopher.LTable:
		for i := 1; i <= v.Len(); i++ {
			h.Add(name, fieldValue(toText(l, v.RawGetInt(i))))
		}
	default:
		h.Add(name, fieldValue(toText(l, v)))
	}
}

// pushHeader gives a field's value: nil, a text, or a table of several.
func pushHeader(l *gopher.LState, h *gateway.Header, name string) int {
	first, several, n := "", (*gopher.LTable)(nil), 0
	for value := range h.Values(name) {
		value = strings.Clone(value)
		switch n++; n {
		case 1:
			first = value
			continue
		case 2:
			several = l.NewTable()
			several.Append(gopher.LString(first))
		}
		several.Append(gopher.LString(value))
	}
	switch {
	case n == 0:
		l.Push(gopher.LNil)
	case n == 1:
		return push(l, first)
	default:
		l.Push(several)
	}
	return 1
}

func headerIndex(l *gopher.LState) int {
	s := stateOf(l)
	if s.x == nil {
		l.Push(gopher.LNil)
		return 1
	}
	return pushHeader(l, &s.x.Response.Header, fieldName(l.CheckString(2)))
}

func headerNewIndex(l *gopher.LState) int {
	s := withRequest(l)
	setHeader(l, &s.x.Response.Header, fieldName(l.CheckString(2)), l.Get(3), true)
	return 0
}

// headersMeta lets the tables of headers find a name in any case, and with underscores.
var headersMeta = func() *gopher.LTable {
	meta := workshop.NewTable()
	meta.RawSetString("__index", workshop.NewFunction(func(l *gopher.LState) int {
		t, ok := l.Get(1).(*gopher.LTable)
		name, isName := l.Get(2).(gopher.LString)
		if !ok || !isName {
			l.Push(gopher.LNil)
			return 1
		}
		l.Push(t.RawGetString(strings.ToLower(fieldName(string(name)))))
		return 1
	}))
	meta.RawSetString("__metatable", gopher.LFalse)
	return meta
}()

// headersTable is a header as a table with names in lower case.
func headersTable(l *gopher.LState, h *gateway.Header, host string) *gopher.LTable {
	t := l.NewTable()
	t.Metatable = headersMeta
	if host != "" {
		t.RawSetString("host", gopher.LString(strings.Clone(host)))
	}
	size := 0
	for name, value := range h.All() {
		size += len(name) + len(value)
		name = strings.ToLower(strings.Clone(name))
		addValue(l, t, name, gopher.LString(strings.Clone(value)))
	}
	stateOf(l).spendBytes(l, size)
	return t
}

// addValue sets a member, or makes it a table of all its values.
func addValue(l *gopher.LState, t *gopher.LTable, name string, value gopher.LValue) {
	switch old := t.RawGetString(name).(type) {
	case *gopher.LNilType:
		t.RawSetString(name, value)
	case *gopher.LTable:
		old.Append(value)
	default:
		several := l.NewTable()
		several.Append(old)
		several.Append(value)
		t.RawSetString(name, several)
	}
}

// argIndex is ngx.arg in a body filter: the chunk, and whether it is the last.
func argIndex(l *gopher.LState) int {
	s := stateOf(l)
	s.only(l, BodyFilter)
	switch l.CheckInt(2) {
	case 1:
		l.Push(s.chunk)
	case 2:
		l.Push(gopher.LBool(s.last))
	default:
		l.Push(gopher.LNil)
	}
	return 1
}

func argNewIndex(l *gopher.LState) int {
	s := stateOf(l)
	s.only(l, BodyFilter)
	switch l.CheckInt(2) {
	case 1:
		s.changed = true
		switch v := l.Get(3).(type) {
		case *gopher.LNilType:
			s.chunk = gopher.LString("")
		case *gopher.LTable:
			var parts []string
			for i := 1; i <= v.Len(); i++ {
				parts = append(parts, toText(l, v.RawGetInt(i)))
			}
			s.chunk = gopher.LString(strings.Join(parts, ""))
		default:
			s.chunk = gopher.LString(toText(l, v))
		}
	case 2:
		s.last = l.ToBool(3)
	}
	return 0
}

// only raises an error in other phases.
func (s *state) only(l *gopher.LState, phases ...Phase) {
	for _, phase := range phases {
		if s.phase == phase {
			return
		}
	}
	l.RaiseError("API disabled in the context of %s_by_lua*", s.phase)
}
