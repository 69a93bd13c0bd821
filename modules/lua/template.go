// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"errors"
	"fmt"
	"strings"

	gopher "github.com/yuin/gopher-lua"
	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// Template is a compiled template in the syntax of lua-resty-template 2: {{expression}}, escaped for HTML, {*expression*}
// as it is, {%statements%}, {#comment#} and {-raw-}text{-raw-}. A backslash in front of a tag makes it text. Names are those
// of what is rendered, then escape and output, then Lua's own. It is safe for concurrent use.
type Template struct{ program *Program }

// LoadTemplate compiles a template. Tags that include other templates, and named blocks, are refused.
func LoadTemplate(view string, log func() *zap.Logger) (*Template, error) {
	source, err := templateSource(view)
	if err != nil {
		return nil, err
	}
	// What a template names may come with what it renders, so nothing is known to be missing.
	chunk, err := loadAs(source, "template", &scanner{anyName: true})
	if err != nil {
		return nil, err
	}
	return &Template{NewProgram(nil, log, chunk)}, nil
}

// Input is what a template renders.
type Input struct {
	// Format is how Body is decoded: xml, json, encoded, args or multipart. Anything else leaves it alone.
	Format string
	// Body is nil when there is none; Format may then decode something else.
	Body []byte
	// ContentType has the boundary of a multipart body.
	ContentType string
}

// DecodeError says that a body is not of its format.
type DecodeError struct{ Err error }

func (e *DecodeError) Error() string { return e.Err.Error() }
func (e *DecodeError) Unwrap() error { return e.Err }

// Render renders the template. The error is a [DecodeError] when that is about the input.
func (t *Template) Render(x *gateway.Exchange, phase Phase, limits Limits, in Input) (out []byte, err error) {
	err = t.program.with(x, phase, limits, func(s *state) error {
		context, multipart, err := s.decode(in)
		if err != nil {
			return &DecodeError{plain(err)}
		}
		s.expose(context, multipart, in.Body)
		defer s.conceal()
		_, err = s.call(s.functions[0], 0, templateOut, templateEscape, templateEcho, context)
		out = s.output
		return err
	})
	return out, err
}

// reserved are the names that a body cannot hide.
var reserved = [...]string{"_ctx", "_body", "_escape_xml", "_escape_json", "_multipart"}

// names are the tables of a state behind the names of a template, innermost first: the environment looks into what is
// rendered, that into the call's own helpers, those into what every template has.
type names struct{ behind, helpers *gopher.LTable }

func (s *state) templateNames() *names {
	if s.names == nil {
		s.names = &names{s.l.CreateTable(0, 2), s.l.CreateTable(0, 2)}
		s.names.behind.RawSetString("__index", s.names.helpers)
		s.names.behind.RawSetString("__metatable", gopher.LFalse)
		s.names.helpers.Metatable = sharedHelpersMeta
	}
	return s.names
}

// expose makes the members of context what the template's names stand for.
func (s *state) expose(context, multipart *gopher.LTable, body []byte) {
	for _, name := range reserved {
		if context.RawGetString(name) != gopher.LNil {
			context.RawSetString(name, gopher.LNil)
		}
	}
	n := s.templateNames()
	n.helpers.RawSetString("_body", gopher.LNil)
	if body != nil {
		s.spendBytes(s.l, len(body))
		n.helpers.RawSetString("_body", gopher.LString(body))
	}
	n.helpers.RawSetString("_multipart", gopher.LNil)
	if multipart != nil {
		n.helpers.RawSetString("_multipart", multipart)
	}
	context.Metatable = n.behind
	environment := s.l.Env.Metatable.(*gopher.LTable)
	environment.RawSetString("__index", context)
	if hasFalse(context) {
		// A name that is false there is looked for elsewhere, and found nowhere.
		environment.RawSetString("__index", s.l.NewFunction(hideFalse(context, n.helpers)))
	}
}

// conceal forgets what was exposed.
func (s *state) conceal() {
	if s.names != nil {
		s.names.helpers.RawSetString("_body", gopher.LNil)
		s.names.helpers.RawSetString("_multipart", gopher.LNil)
		s.l.Env.Metatable.(*gopher.LTable).RawSetString("__index", base)
	}
}

func hasFalse(t *gopher.LTable) bool {
	for key, value := t.Next(gopher.LNil); key != gopher.LNil; key, value = t.Next(key) {
		if value == gopher.LFalse {
			return true
		}
	}
	return false
}

func hideFalse(context, helpers *gopher.LTable) gopher.LGFunction {
	return func(l *gopher.LState) int {
		v := context.RawGet(l.Get(2))
		if !gopher.LVAsBool(v) {
			v = l.GetField(helpers, l.Get(2).String())
		}
		l.Push(v)
		return 1
	}
}

var (
	templateOut    = workshop.NewFunction(templateOutput(func(text string) string { return text }))
	templateEscape = workshop.NewFunction(templateOutput(escapeHTML))
	templateEcho   = workshop.NewFunction(func(l *gopher.LState) int {
		s := stateOf(l)
		for i := 1; i <= l.GetTop(); i++ {
			s.emit(l, toText(l, l.Get(i)))
		}
		return 0
	})
)

// templateHelpers are the names that every template has.
var templateHelpers = map[string]gopher.LValue{
	"_ctx":         ctxObject,
	"_escape_xml":  workshop.NewFunction(textArgument(escapeXML)),
	"_escape_json": workshop.NewFunction(jsonEncode),
	"escape":       workshop.NewFunction(textArgument(escapeHTML)),
	"output":       workshop.NewFunction(textArgument(func(text string) string { return text })),
}

// sharedHelpersMeta leads from a call's own helpers to those that every template has, and from there to Lua's names.
var sharedHelpersMeta = func() *gopher.LTable {
	shared, meta, behind := workshop.NewTable(), workshop.NewTable(), workshop.NewTable()
	for name, value := range templateHelpers {
		shared.RawSetString(name, value)
	}
	meta.RawSetString("__index", shared)
	meta.RawSetString("__metatable", gopher.LFalse)
	behind.RawSetString("__index", base)
	shared.Metatable = behind
	return meta
}()

func (s *state) emit(l *gopher.LState, text string) {
	s.spendBytes(l, len(text))
	s.output = append(s.output, text...)
}

// templateText is what a value is in a template: nothing for nil and null, and for a function its result.
func templateText(l *gopher.LState, v gopher.LValue, escape func(string) string) string {
	for range maxFrozenDepth {
		f, ok := v.(*gopher.LFunction)
		if !ok {
			break
		}
		l.Push(f)
		l.Call(0, 1)
		v = l.Get(-1)
		l.Pop(1)
	}
	switch v := v.(type) {
	case *gopher.LNilType:
		return ""
	case gopher.LString:
		return escape(string(v))
	}
	if v == gopher.LValue(null) {
		return ""
	}
	return toText(l, v)
}

func templateOutput(escape func(string) string) gopher.LGFunction {
	return func(l *gopher.LState) int {
		stateOf(l).emit(l, templateText(l, l.Get(1), escape))
		return 0
	}
}

func textArgument(f func(string) string) gopher.LGFunction {
	return func(l *gopher.LState) int { return push(l, templateText(l, l.Get(1), f)) }
}

var (
	htmlReplacer = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;", "/", "&#47;")
	xmlReplacer  = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", `"`, "&quot;")
)

func escapeHTML(text string) string { return htmlReplacer.Replace(text) }
func escapeXML(text string) string  { return xmlReplacer.Replace(text) }

var errInclude = errors.New("templates cannot include others")

// templateWriter turns a view into a chunk.
type templateWriter struct {
	view string
	b    strings.Builder
	// done is up to where the view has been written.
	done int
}

// templateSource writes the chunk of a view: text and expressions become calls of what writes them out.
func templateSource(view string) (string, error) {
	w := &templateWriter{view: view}
	w.b.WriteString("return function(___o, ___e, echo, context) ")
	for s := strings.IndexByte(view, '{'); s >= 0 && s+1 < len(view); {
		next, err := w.tag(s)
		if err != nil {
			return "", err
		}
		i := strings.IndexByte(view[next:], '{')
		if i < 0 {
			break
		}
		s = next + i
	}
	w.text(len(view))
	w.b.WriteString("\nend")
	return w.b.String(), nil
}

// text writes what has not been written of the view up to end.
func (w *templateWriter) text(end int) {
	if w.done < end {
		w.b.WriteString("___o(" + quoteText(w.view[w.done:end]) + ") ")
	}
	w.done = max(w.done, end)
}

// tag writes the tag at s, if there is one, and returns where to look for the next.
func (w *templateWriter) tag(s int) (next int, err error) {
	closing, ok := map[byte]string{'{': "}}", '*': "*}", '%': "%}", '#': "#}", '-': "-}", '(': ")}", '[': "]}"}[w.view[s+1]]
	if !ok {
		return s + 1, nil
	}
	length := strings.Index(w.view[s+2:], closing)
	if length < 0 {
		return s + 1, nil
	}
	inner, end := w.view[s+2:s+2+length], s+2+length+2
	if literal, cut := escaped(w.view, s); cut {
		w.text(s - 1)
		w.done = s
		if literal {
			return s + 1, nil
		}
	}
	switch w.view[s+1] {
	case '{':
		w.text(s)
		w.b.WriteString("___e(" + strings.TrimSpace(inner) + "\n) ")
	case '*':
		w.text(s)
		w.b.WriteString("___o(" + strings.TrimSpace(inner) + "\n) ")
	case '%':
		w.text(max(w.done, len(strings.TrimRight(w.view[:s], " \t\v\x00"))))
		w.b.WriteString(strings.TrimSpace(inner) + "\n")
		end = pastNewline(w.view, end)
	case '#':
		w.text(s)
		end = pastNewline(w.view, end)
	case '-':
		return w.raw(s, inner, end)
	default:
		return 0, fmt.Errorf("{%c%s%s: %w", w.view[s+1], inner, closing, errInclude)
	}
	w.done = end
	return end, nil
}

// raw writes what is between two {-raw-} as it is.
func (w *templateWriter) raw(s int, name string, end int) (next int, err error) {
	name = strings.TrimSpace(name)
	if name != "raw" && name != "verbatim" {
		return 0, fmt.Errorf("{-%s-}: templates have no blocks", name)
	}
	closing := "{-" + name + "-}"
	length := strings.Index(w.view[end:], closing)
	if length < 0 {
		return s + 1, nil
	}
	w.text(s)
	w.done = pastNewline(w.view, end)
	w.text(end + length)
	w.done = end + length + len(closing)
	return w.done, nil
}

func pastNewline(view string, at int) int {
	if at < len(view) && view[at] == '\n' {
		return at + 1
	}
	return at
}

// escaped reports whether the tag at s is text because of a backslash in front of it, and whether a backslash is to be cut
// out: that of an escape, or the first of two.
func escaped(view string, s int) (literal, cut bool) {
	if s < 1 || view[s-1] != '\\' {
		return false, false
	}
	return s < 2 || view[s-2] != '\\', true
}
