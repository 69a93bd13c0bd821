// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // ngx.md5 is what it is.
	"crypto/sha1" //nolint:gosec // So is ngx.sha1_bin.
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	gopher "github.com/yuin/gopher-lua"
	"go.uber.org/zap"
)

// The levels of ngx.log.
const (
	levelErr    = 4
	levelWarn   = 5
	levelNotice = 6
	levelInfo   = 7
	levelDebug  = 8
)

// numbers are the constants of ngx.
var numbers = map[string]int{
	"OK": 0, "ERROR": -1, "AGAIN": -2, "DONE": -4, "DECLINED": -5,
	"STDERR": 0, "EMERG": 1, "ALERT": 2, "CRIT": 3, "ERR": levelErr, "WARN": levelWarn, "NOTICE": levelNotice, "INFO": levelInfo, "DEBUG": levelDebug,
	"HTTP_CONTINUE": 100, "HTTP_SWITCHING_PROTOCOLS": 101, "HTTP_OK": 200, "HTTP_CREATED": 201, "HTTP_ACCEPTED": 202,
	"HTTP_NO_CONTENT": 204, "HTTP_PARTIAL_CONTENT": 206, "HTTP_SPECIAL_RESPONSE": 300, "HTTP_MOVED_PERMANENTLY": 301,
	"HTTP_MOVED_TEMPORARILY": 302, "HTTP_SEE_OTHER": 303, "HTTP_NOT_MODIFIED": 304, "HTTP_TEMPORARY_REDIRECT": 307,
	"HTTP_PERMANENT_REDIRECT": 308, "HTTP_BAD_REQUEST": 400, "HTTP_UNAUTHORIZED": 401, "HTTP_PAYMENT_REQUIRED": 402, "HTTP_FORBIDDEN": 403,
	"HTTP_NOT_FOUND": 404, "HTTP_NOT_ALLOWED": 405, "HTTP_NOT_ACCEPTABLE": 406, "HTTP_REQUEST_TIMEOUT": 408, "HTTP_CONFLICT": 409,
	"HTTP_GONE": 410, "HTTP_UPGRADE_REQUIRED": 426, "HTTP_TOO_MANY_REQUESTS": 429, "HTTP_CLOSE": 444, "HTTP_ILLEGAL": 451,
	"HTTP_INTERNAL_SERVER_ERROR": 500, "HTTP_METHOD_NOT_IMPLEMENTED": 501, "HTTP_BAD_GATEWAY": 502, "HTTP_SERVICE_UNAVAILABLE": 503,
	"HTTP_GATEWAY_TIMEOUT": 504, "HTTP_VERSION_NOT_SUPPORTED": 505, "HTTP_INSUFFICIENT_STORAGE": 507,
}

func init() {
	ngx := newLibrary("ngx", functions{
		"say": say, "print": printOut, "exit": exit, "redirect": redirect, "flush": nothing, "eof": nothing, "send_headers": nothing,
		"log": ngxLog, "get_phase": getPhase, "sleep": sleep,
		"now": now, "time": unixTime, "update_time": nothing, "localtime": formatNow("2006-01-02 15:04:05", time.Time.Local),
		"utctime": formatNow("2006-01-02 15:04:05", time.Time.UTC), "today": formatNow("2006-01-02", time.Time.Local),
		"http_time": formatTime(http.TimeFormat), "cookie_time": formatTime("Mon, 02-Jan-06 15:04:05 GMT"), "parse_http_time": parseHTTPTime,
		"escape_uri": textFunction(escape), "unescape_uri": textFunction(unescape),
		"encode_args": encodeArgsFunction, "decode_args": decodeArgsFunction, "encode_base64": encodeBase64, "decode_base64": decodeBase64,
		"md5": textFunction(md5Hex), "md5_bin": textFunction(md5Bin), "sha1_bin": textFunction(sha1Bin), "hmac_sha1": hmacSHA1,
		"crc32_short": crc, "crc32_long": crc,
	})
	for name, n := range numbers {
		ngx.constant(name, gopher.LNumber(n))
	}
	for name, n := range methods {
		ngx.constant("HTTP_"+name, gopher.LNumber(n))
	}
	for name, value := range map[string]gopher.LValue{
		"null": null, "var": varObject, "ctx": ngxCtxObject, "header": headerObject, "arg": argObject,
	} {
		ngx.constant(name, value)
	}
	ngx.part("req", reqLibrary).part("re", reLibrary)
	ngx.part("resp", newLibrary("ngx.resp", functions{"get_headers": getResponseHeaders, "add_header": addResponseHeader}))
	ngx.part("worker", newLibrary("ngx.worker", functions{
		"id": constantFunction(0), "pid": constantFunction(os.Getpid()), "count": constantFunction(1), "exiting": falseResult,
	}))
	ngx.part("config", newLibrary("ngx.config").constant("subsystem", gopher.LString("http")).constant("debug", gopher.LFalse))
	ngx.computed(ngxIndex, "status", "headers_sent")
	ngx.meta("__newindex", ngxNewIndex)
	ngx.global("ngx")
}

func constantFunction(n int) gopher.LGFunction {
	return func(l *gopher.LState) int {
		l.Push(gopher.LNumber(n))
		return 1
	}
}

func textFunction(f func(string) string) gopher.LGFunction {
	return func(l *gopher.LState) int {
		stateOf(l).spend(l, len(l.CheckString(1))/8)
		return push(l, f(l.CheckString(1)))
	}
}

// ngxIndex has the members of ngx that are not always the same.
func ngxIndex(l *gopher.LState) int {
	s := stateOf(l)
	switch l.Get(2).String() {
	case "status":
		status := s.status
		if s.x != nil && status == 0 {
			status = s.x.Response.Status
		}
		l.Push(gopher.LNumber(status))
	case "headers_sent":
		l.Push(gopher.LBool(s.printed || s.phase >= BodyFilter))
	default:
		l.Push(gopher.LNil)
	}
	return 1
}

func ngxNewIndex(l *gopher.LState) int {
	s := stateOf(l)
	switch name := l.Get(2).String(); name {
	case "status":
		status := l.CheckInt(3)
		switch {
		case s.phase == HeaderFilter && status >= 200 && status <= 999:
			s.x.Response.Status = status
		case s.phase != HeaderFilter:
			s.setStatus(status)
		}
	case "ctx":
		s.replaceContext(l)
	default:
		l.RaiseError("ngx.%s cannot be set", name)
	}
	return 0
}

// replaceContext is "ngx.ctx = {...}".
func (s *state) replaceContext(l *gopher.LState) {
	eachKey(l, l.CheckTable(3), func(key, value gopher.LValue) {
		if name, ok := key.(gopher.LString); ok && s.x != nil {
			s.setField(ngxCtxFields, string(name), value)
		}
	})
}

// printAll prints the arguments from the first on; nil is "nil".
func printAll(l *gopher.LState, from int) *state {
	s := stateOf(l)
	s.only(l, Loading, Rewrite, Access)
	for i := from; i <= l.GetTop(); i++ {
		printValue(l, s, l.Get(i), 0)
	}
	s.printed = true
	return s
}

// printValue prints texts, and tables of texts as one.
func printValue(l *gopher.LState, s *state, v gopher.LValue, depth int) {
	t, ok := v.(*gopher.LTable)
	if !ok {
		text := toText(l, v)
		s.spendBytes(l, len(text))
		s.output = append(s.output, text...)
		return
	}
	if depth > maxFrozenDepth {
		l.RaiseError("bad data: too deeply nested")
	}
	for i := 1; i <= t.Len(); i++ {
		printValue(l, s, t.RawGetInt(i), depth+1)
	}
}

func say(l *gopher.LState) int {
	s := printAll(l, 1)
	s.output = append(s.output, '\n')
	l.Push(gopher.LNumber(1))
	return 1
}

func printOut(l *gopher.LState) int {
	printAll(l, 1)
	l.Push(gopher.LNumber(1))
	return 1
}

// leave ends the call, however deep it is and whoever catches errors.
func (s *state) leave(l *gopher.LState) int {
	s.stop(errEnded)
	l.RaiseError("%s", errEnded.Error())
	return 0
}

// exit is ngx.exit: with 0 the request goes on without the rest of the program.
func exit(l *gopher.LState) int {
	s, status := stateOf(l), l.CheckInt(1)
	s.only(l, Loading, Rewrite, Access)
	switch {
	case status == 0 && !s.printed:
		s.left = true
	case status < 0:
		s.setStatus(http.StatusInternalServerError)
		s.ended = true
	default:
		s.setStatus(status)
		s.ended = true
	}
	return s.leave(l)
}

func redirect(l *gopher.LState) int {
	s, uri, status := withRequest(l), l.CheckString(1), l.OptInt(2, http.StatusFound)
	s.only(l, Rewrite, Access)
	switch status {
	case 301, 302, 303, 307, 308:
	default:
		l.RaiseError("only 301, 302, 303, 307 and 308 are allowed")
	}
	s.x.Response.Header.Set("Location", fieldValue(uri))
	s.setStatus(status)
	s.ended = true
	return s.leave(l)
}

func ngxLog(l *gopher.LState) int {
	logArguments(l, l.CheckInt(1), 2)
	return 0
}

// maxLogged is how much of a line is logged, as in nginx.
const maxLogged = 2048

// logArguments logs its arguments from one on as one line.
func logArguments(l *gopher.LState, level, from int) {
	var b strings.Builder
	for i := from; i <= l.GetTop() && b.Len() < maxLogged; i++ {
		b.WriteString(toText(l, l.Get(i)))
	}
	line := b.String()
	line = line[:min(len(line), maxLogged)]
	s := stateOf(l)
	s.spendBytes(l, len(line))
	log, text := s.program.log(), zap.String("text", strings.Clone(line))
	switch {
	case level <= levelErr:
		log.Error("lua: logged", text)
	case level == levelWarn:
		log.Warn("lua: logged", text)
	case level <= levelInfo:
		log.Info("lua: logged", text)
	default:
		log.Debug("lua: logged", text)
	}
}

func getPhase(l *gopher.LState) int {
	l.Push(gopher.LString(stateOf(l).phase.String()))
	return 1
}

func sleep(l *gopher.LState) int {
	s, seconds := withRequest(l), float64(l.CheckNumber(1))
	s.only(l, Rewrite, Access)
	timer := time.NewTimer(time.Duration(min(max(seconds, 0), 3600) * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.x.Context().Done():
		s.stop(s.x.Context().Err())
		l.RaiseError("%s", s.why.Error())
	}
	return 0
}

func seconds(t time.Time) gopher.LNumber { return gopher.LNumber(float64(t.UnixMilli()) / 1000) }

func now(l *gopher.LState) int {
	l.Push(seconds(time.Now()))
	return 1
}

func unixTime(l *gopher.LState) int {
	l.Push(gopher.LNumber(time.Now().Unix()))
	return 1
}

func formatNow(layout string, in func(time.Time) time.Time) gopher.LGFunction {
	return func(l *gopher.LState) int { return push(l, in(time.Now()).Format(layout)) }
}

func formatTime(layout string) gopher.LGFunction {
	return func(l *gopher.LState) int {
		return push(l, time.Unix(int64(l.CheckNumber(1)), 0).UTC().Format(layout))
	}
}

func parseHTTPTime(l *gopher.LState) int {
	t, err := http.ParseTime(l.CheckString(1))
	if err != nil {
		return nilResult(l)
	}
	l.Push(gopher.LNumber(t.Unix()))
	return 1
}

func encodeBase64(l *gopher.LState) int {
	text := l.CheckString(1)
	if l.ToBool(2) {
		return push(l, base64.RawStdEncoding.EncodeToString([]byte(text)))
	}
	return push(l, base64.StdEncoding.EncodeToString([]byte(text)))
}

func decodeBase64(l *gopher.LState) int {
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(l.CheckString(1), "="))
	if err != nil {
		return nilResult(l)
	}
	return push(l, string(decoded))
}

func md5Bin(text string) string {
	sum := md5.Sum([]byte(text)) //nolint:gosec // See the import.
	return string(sum[:])
}

func md5Hex(text string) string { return hex.EncodeToString([]byte(md5Bin(text))) }

func sha1Bin(text string) string {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // See the import.
	return string(sum[:])
}

func hmacSHA1(l *gopher.LState) int {
	mac := hmac.New(sha1.New, []byte(l.CheckString(1)))
	mac.Write([]byte(l.CheckString(2)))
	return push(l, string(mac.Sum(nil)))
}

func crc(l *gopher.LState) int {
	l.Push(gopher.LNumber(crc32.ChecksumIEEE([]byte(l.CheckString(1)))))
	return 1
}

func getResponseHeaders(l *gopher.LState) int {
	l.Push(headersTable(l, &withRequest(l).x.Response.Header, ""))
	return 1
}

func addResponseHeader(l *gopher.LState) int {
	setHeader(l, &withRequest(l).x.Response.Header, l.CheckString(1), l.CheckAny(2), false)
	return 0
}

// toNumber is Lua's tonumber of a decimal text; nil when it is none.
func toNumber(text string) gopher.LValue {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) {
		return gopher.LNil
	}
	return gopher.LNumber(f)
}

func tooLarge(size, most int) error {
	return fmt.Errorf("request size %d is greater than the maximum size %d allowed", size, most)
}
