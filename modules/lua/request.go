// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"errors"
	"net/url"
	"strings"

	gopher "github.com/yuin/gopher-lua"

	"github.com/andogate/ando/modules/gateway"
)

// defaultArgs is how many arguments are read when nothing is said; 0 is all.
const defaultArgs = 100

// argsTable reads what is written like a query. An argument without '=' is true.
func argsTable(l *gopher.LState, text string, most int) *gopher.LTable {
	stateOf(l).spendBytes(l, len(text))
	t := l.NewTable()
	for n := 0; text != "" && (most == 0 || n < most); {
		var pair string
		pair, text, _ = strings.Cut(text, "&")
		name, value, hasValue := strings.Cut(pair, "=")
		if name == "" {
			continue
		}
		n++
		stateOf(l).spend(l, 1)
		if !hasValue {
			addValue(l, t, unescape(name), gopher.LTrue)
			continue
		}
		addValue(l, t, unescape(name), gopher.LString(unescape(value)))
	}
	return t
}

// unescape undoes percent-encoding, as far as it is any, and makes '+' a space.
func unescape(text string) string {
	if strings.IndexByte(text, '%') < 0 && strings.IndexByte(text, '+') < 0 {
		return strings.Clone(text)
	}
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '+':
			b = append(b, ' ')
		case text[i] == '%' && i+2 < len(text) && inClass(text[i+1], 'x') && inClass(text[i+2], 'x'):
			decoded, _ := url.PathUnescape(text[i : i+3])
			b = append(b, decoded...)
			i += 2
		default:
			b = append(b, text[i])
		}
	}
	return string(b)
}

// escape percent-encodes everything but the unreserved characters (RFC 3986 section 2.3).
func escape(text string) string { return escapeBut(text, "-._~") }

// escapeTarget encodes what cannot stand in a request line.
func escapeTarget(text string) string { return escapeBut(text, "-._~!$&'()*+,;=:@/?%") }

// escapePath encodes what cannot stand in a path.
func escapePath(text string) string { return escapeBut(text, "-._~!$&'()*+,;=:@/") }

func escapeBut(text, also string) string {
	const digits = "0123456789ABCDEF"
	keeps := func(c byte) bool { return isAlpha(c) || isDigitByte(c) || strings.IndexByte(also, c) >= 0 }
	for i := range len(text) {
		if keeps(text[i]) {
			continue
		}
		b := []byte(text[:i])
		for ; i < len(text); i++ {
			if c := text[i]; keeps(c) {
				b = append(b, c)
			} else {
				b = append(b, '%', digits[c>>4], digits[c&15])
			}
		}
		return string(b)
	}
	return text
}

// encodeArgs writes a table as a query.
func encodeArgs(l *gopher.LState, t *gopher.LTable) string {
	var b strings.Builder
	add := func(name string, value gopher.LValue) {
		if value == gopher.LFalse {
			return
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(escape(name))
		if value != gopher.LTrue {
			b.WriteByte('=')
			b.WriteString(escape(toText(l, value)))
		}
	}
	eachKey(l, t, func(key, value gopher.LValue) {
		several, ok := value.(*gopher.LTable)
		if !ok {
			add(toText(l, key), value)
			return
		}
		for i := 1; i <= several.Len(); i++ {
			add(toText(l, key), several.RawGetInt(i))
		}
	})
	return b.String()
}

func encodeArgsFunction(l *gopher.LState) int { return push(l, encodeArgs(l, l.CheckTable(1))) }

func decodeArgsFunction(l *gopher.LState) int {
	l.Push(argsTable(l, l.CheckString(1), l.OptInt(2, defaultArgs)))
	return 1
}

// methods are ngx.HTTP_GET and the like.
var methods = map[string]int{
	"GET": 1 << 1, "HEAD": 1 << 2, "POST": 1 << 3, "PUT": 1 << 4, "DELETE": 1 << 5, "MKCOL": 1 << 6, "COPY": 1 << 7, "MOVE": 1 << 8,
	"OPTIONS": 1 << 9, "PROPFIND": 1 << 10, "PROPPATCH": 1 << 11, "LOCK": 1 << 12, "UNLOCK": 1 << 13, "PATCH": 1 << 14, "TRACE": 1 << 15,
}

var reqLibrary = newLibrary("ngx.req", functions{
	"get_method": getMethod, "set_method": setMethod, "http_version": httpVersion, "start_time": startTime,
	"get_headers": getRequestHeaders, "set_header": setRequestHeader, "add_header": addRequestHeader, "clear_header": clearRequestHeader,
	"get_uri_args": getURIArgs, "set_uri_args": setURIArgs, "set_uri": setURI, "get_post_args": getPostArgs,
	"read_body": readBody, "discard_body": nothing, "get_body_data": getBodyData, "get_body_file": nilResult, "set_body_data": setBodyData,
	"is_internal": falseResult,
})

func nothing(*gopher.LState) int { return 0 }

func nilResult(l *gopher.LState) int {
	l.Push(gopher.LNil)
	return 1
}

func falseResult(l *gopher.LState) int {
	l.Push(gopher.LFalse)
	return 1
}

func getMethod(l *gopher.LState) int {
	x := withRequest(l).x
	return pushText(l, x.ForwardMethod(), true)
}

func setMethod(l *gopher.LState) int {
	s, id := withRequest(l), l.CheckInt(1)
	for name, n := range methods {
		if n == id {
			s.x.Forward.Method = name
			return 0
		}
	}
	l.RaiseError("unsupported HTTP method: %d", id)
	return 0
}

func httpVersion(l *gopher.LState) int {
	r := &withRequest(l).x.Request
	l.Push(gopher.LNumber(float64(r.ProtoMajor*10+r.ProtoMinor) / 10))
	return 1
}

func startTime(l *gopher.LState) int {
	l.Push(seconds(withRequest(l).x.Start))
	return 1
}

func getRequestHeaders(l *gopher.LState) int {
	r := &withRequest(l).x.Request
	l.Push(headersTable(l, &r.Header, r.RawHost))
	return 1
}

// requestField sets or adds a field of the request. Host is the one that the node is sent.
func requestField(l *gopher.LState, name string, value gopher.LValue, override bool) {
	x := withRequest(l).x
	if gateway.EqualFold(name, "Host") {
		if value != gopher.LNil {
			x.Forward.Host = fieldValue(toText(l, value))
		}
		return
	}
	setHeader(l, &x.Request.Header, name, value, override)
}

func setRequestHeader(l *gopher.LState) int {
	requestField(l, l.CheckString(1), l.Get(2), true)
	return 0
}

func addRequestHeader(l *gopher.LState) int {
	requestField(l, l.CheckString(1), l.CheckAny(2), false)
	return 0
}

func clearRequestHeader(l *gopher.LState) int {
	requestField(l, l.CheckString(1), gopher.LNil, true)
	return 0
}

func getURIArgs(l *gopher.LState) int {
	l.Push(argsTable(l, withRequest(l).x.Request.Query, l.OptInt(1, defaultArgs)))
	return 1
}

// queryOf reads arguments that are given as a text or a table.
func queryOf(l *gopher.LState, v gopher.LValue) string {
	if t, ok := v.(*gopher.LTable); ok {
		return encodeArgs(l, t)
	}
	return escapeTarget(toText(l, v))
}

func setURIArgs(l *gopher.LState) int {
	withRequest(l).setQuery(queryOf(l, l.CheckAny(1)))
	return 0
}

func setURI(l *gopher.LState) int {
	s, uri := withRequest(l), l.CheckString(1)
	if !strings.HasPrefix(uri, "/") {
		l.RaiseError("the uri must begin with a slash, got %q", uri)
	}
	s.x.Forward.Target = withQuery(escapePath(uri), s.x.Request.Query)
	return 0
}

// body reads the request's body. Only functions that may wait can.
func (s *state) body(l *gopher.LState) ([]byte, error) {
	if body, ok := s.x.BodyBuffered(); ok {
		return body, nil
	}
	s.only(l, Rewrite, Access)
	return s.x.Body()
}

func readBody(l *gopher.LState) int {
	if _, err := withRequest(l).body(l); err != nil {
		l.RaiseError("%s", err.Error())
	}
	return 0
}

func getBodyData(l *gopher.LState) int {
	body, err := withRequest(l).body(l)
	if err != nil || len(body) == 0 {
		l.Push(gopher.LNil)
		return 1
	}
	return push(l, string(body))
}

func setBodyData(l *gopher.LState) int {
	s, body := withRequest(l), l.CheckString(1)
	s.only(l, Rewrite, Access)
	s.x.ReplaceBody([]byte(body))
	return 0
}

// getPostArgs reads a form.
func getPostArgs(l *gopher.LState) int {
	body, err := withRequest(l).body(l)
	if err != nil {
		return pushError(l, err)
	}
	l.Push(argsTable(l, string(body), l.OptInt(1, defaultArgs)))
	return 1
}

// The functions of core.request; most take the ctx first, which may be nil.
var coreRequest = newLibrary("core.request", functions{
	"headers": getRequestHeaders, "header": coreHeader, "set_header": coreSetHeader, "add_header": coreAddHeader,
	"get_ip": variableFunction("realip_remote_addr"), "get_remote_client_ip": variableFunction("remote_addr"),
	"get_remote_client_port": numberFunction("remote_port"), "get_port": numberFunction("server_port"),
	"get_scheme": variableFunction("scheme"), "get_host": variableFunction("host"),
	"get_uri_args": coreURIArgs, "set_uri_args": coreSetURIArgs, "get_post_args": corePostArgs,
	"get_body": coreBody, "get_json_request_body_table": coreJSONBody,
	"get_http_version": httpVersion, "get_method": getMethod,
})

func variableFunction(name string) gopher.LGFunction {
	return func(l *gopher.LState) int {
		text, _ := withRequest(l).variable(name)
		return pushText(l, text, true)
	}
}

func numberFunction(name string) gopher.LGFunction {
	return func(l *gopher.LState) int {
		text, _ := withRequest(l).variable(name)
		l.Push(toNumber(text))
		return 1
	}
}

func coreHeader(l *gopher.LState) int {
	r := &withRequest(l).x.Request
	name := l.CheckString(2)
	if gateway.EqualFold(name, "Host") {
		return pushText(l, r.RawHost, r.RawHost != "")
	}
	value, ok := r.Header.Lookup(fieldName(name))
	return pushText(l, value, ok)
}

// coreModify passes over the ctx, which older functions leave out.
func coreModify(l *gopher.LState, override bool) int {
	at := 2
	if _, old := l.Get(1).(gopher.LString); old {
		at = 1
	}
	requestField(l, l.CheckString(at), l.Get(at+1), override)
	return 0
}

func coreSetHeader(l *gopher.LState) int { return coreModify(l, true) }
func coreAddHeader(l *gopher.LState) int { return coreModify(l, false) }

func coreURIArgs(l *gopher.LState) int {
	l.Push(argsTable(l, withRequest(l).x.Request.Query, 0))
	return 1
}

func coreSetURIArgs(l *gopher.LState) int {
	withRequest(l).setQuery(queryOf(l, l.CheckAny(2)))
	return 0
}

func corePostArgs(l *gopher.LState) int {
	body, err := withRequest(l).body(l)
	if err != nil {
		l.Push(l.NewTable())
		return 1
	}
	l.Push(argsTable(l, string(body), l.OptInt(2, defaultArgs)))
	return 1
}

func coreBody(l *gopher.LState) int {
	s := withRequest(l)
	body, err := s.body(l)
	most := l.OptInt(1, 0)
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge):
		return pushError(l, errors.New("request size is greater than the maximum size allowed"))
	case err != nil:
		return pushError(l, err)
	case most > 0 && len(body) > most:
		return pushError(l, tooLarge(len(body), most))
	case len(body) == 0:
		l.Push(gopher.LNil)
		return 1
	}
	return push(l, string(body))
}

func coreJSONBody(l *gopher.LState) int {
	body, err := withRequest(l).body(l)
	var v gopher.LValue
	switch {
	case err != nil:
		err = errors.New("could not get body: " + err.Error())
	case len(body) == 0:
		err = errors.New("could not get body: request body is empty")
	default:
		if v, err = decodeJSON(l, string(body)); err != nil {
			err = errors.New("could not parse JSON request body: " + err.Error())
		}
	}
	if err != nil {
		message := l.NewTable()
		message.RawSetString("message", gopher.LString(err.Error()))
		l.Push(gopher.LNil)
		l.Push(message)
		return 2
	}
	l.Push(v)
	return 1
}
