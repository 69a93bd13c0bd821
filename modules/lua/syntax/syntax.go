// SPDX-License-Identifier: Apache-2.0

// Package syntax finds the first error in Lua source and says what LuaJIT says of it, which is what clients of the Admin
// API know. It builds nothing; what it bounds, the compiler behind it need not.
package syntax

import "slices"

// Error is a syntax error with its place: `[string "x ="]:1: unexpected symbol near '<eof>'`.
type Error struct{ message string }

func (e *Error) Error() string { return e.message }

const (
	// maxSource bounds a source: compilers work through chains such as 1+1+1 by recursion.
	maxSource = 512 << 10
	// maxDepth is how deep blocks and expressions may lie within each other, as in LuaJIT.
	maxDepth = 200
)

// ChunkName is what a source is called in errors: its first line, shortened, as LuaJIT does.
func ChunkName(source string) string {
	const whole, cut = 48, 45
	n := 0
	for n < len(source) && n < whole && source[n] >= ' ' {
		n++
	}
	if n == len(source) {
		return `[string "` + source + `"]`
	}
	return `[string "` + source[:min(n, cut)] + `..."]`
}

// Check returns the first error in a chunk, which errors call by its name; nil when there is none.
func Check(source, name string) (err error) {
	p := &parser{lexer: lexer{source: source, chunk: name, line: 1}}
	defer func() {
		if e, ok := recover().(*Error); ok {
			err = e
		}
	}()
	if len(source) > maxSource {
		p.fail("", "chunk has more than %d bytes", maxSource)
	}
	p.vararg = true
	p.next()
	p.block()
	if p.tok != eof {
		p.failHere("'%s' expected", eof)
	}
	return nil
}

// parser is a recursive descent over the grammar of Lua 5.1 with what LuaJIT adds.
type parser struct {
	lexer
	depth int
	// vararg says that the function takes "...".
	vararg bool
}

func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		p.fail("", "chunk has too many syntax levels")
	}
}

func (p *parser) leave() { p.depth-- }

func (p *parser) accept(t token) bool {
	if p.tok != t {
		return false
	}
	p.next()
	return true
}

func (p *parser) expect(t token) {
	if !p.accept(t) {
		p.failHere("'%s' expected", t)
	}
}

// closes expects what ends something that opened with opening on that line.
func (p *parser) closes(t, opening token, line int) {
	switch {
	case p.accept(t):
	case line == p.line:
		p.failHere("'%s' expected", t)
	default:
		p.failHere("'%s' expected (to close '%s' at line %d)", t, opening, line)
	}
}

func (p *parser) blockEnds() bool {
	switch p.tok {
	case eof, "end", "else", "elseif", "until":
		return true
	}
	return false
}

func (p *parser) block() {
	p.enter()
	for last := false; !last && !p.blockEnds(); {
		last = p.statement()
		for p.accept(";") {
			continue
		}
	}
	p.leave()
}

// statement returns whether nothing may follow in its block.
func (p *parser) statement() (last bool) {
	line := p.line
	switch p.tok {
	case "if":
		p.ifStatement()
	case "while":
		p.next()
		p.expression(0)
		p.expect("do")
		p.block()
		p.closes("end", "while", line)
	case "do":
		p.next()
		p.block()
		p.closes("end", "do", line)
	case "for":
		p.forStatement()
	case "repeat":
		p.next()
		p.block()
		p.closes("until", "repeat", line)
		p.expression(0)
	case "function":
		p.next()
		p.expect(name)
		for p.accept(".") {
			p.expect(name)
		}
		if p.accept(":") {
			p.expect(name)
		}
		p.function(line)
	case "local":
		p.localStatement(line)
	case "return":
		p.next()
		if !p.blockEnds() && p.tok != ";" {
			p.expressions()
		}
		return true
	case "break":
		p.next()
	case ";":
	case "::":
		p.next()
		p.expect(name)
		p.expect("::")
	default:
		if !p.gotoStatement() {
			p.callOrAssignment()
		}
	}
	return false
}

func (p *parser) ifStatement() {
	line := p.line
	for {
		p.next()
		p.expression(0)
		p.expect("then")
		p.block()
		if p.tok != "elseif" {
			break
		}
	}
	if p.accept("else") {
		p.block()
	}
	p.closes("end", "if", line)
}

func (p *parser) forStatement() {
	line := p.line
	p.next()
	p.expect(name)
	switch p.tok {
	case "=":
		p.next()
		p.expression(0)
		p.expect(",")
		p.expression(0)
		if p.accept(",") {
			p.expression(0)
		}
	case ",", "in":
		for p.accept(",") {
			p.expect(name)
		}
		p.expect("in")
		p.expressions()
	default:
		p.failHere("'=' or 'in' expected")
	}
	p.expect("do")
	p.block()
	p.closes("end", "for", line)
}

func (p *parser) localStatement(line int) {
	p.next()
	if p.accept("function") {
		p.expect(name)
		p.function(line)
		return
	}
	p.expect(name)
	for p.accept(",") {
		p.expect(name)
	}
	if p.accept("=") {
		p.expressions()
	}
}

// gotoStatement reads a goto, which is a name anywhere but in front of another one.
func (p *parser) gotoStatement() bool {
	if p.tok != name || p.lexeme != "goto" {
		return false
	}
	before := p.lexer
	p.next()
	if p.tok != name {
		p.lexer = before
		return false
	}
	p.next()
	return true
}

func (p *parser) callOrAssignment() {
	isCall, assignable := p.suffixed()
	if isCall {
		return
	}
	for {
		if !assignable {
			p.failHere("syntax error")
		}
		if !p.accept(",") {
			break
		}
		_, assignable = p.suffixed()
	}
	p.expect("=")
	p.expressions()
}

func (p *parser) expressions() {
	p.expression(0)
	for p.accept(",") {
		p.expression(0)
	}
}

// binary has the priorities of the operators on their left and right.
var binary = map[token][2]int{
	"or": {1, 1}, "and": {2, 2},
	"<": {3, 3}, ">": {3, 3}, "<=": {3, 3}, ">=": {3, 3}, "~=": {3, 3}, "==": {3, 3},
	"..": {5, 4}, "+": {6, 6}, "-": {6, 6}, "*": {7, 7}, "/": {7, 7}, "%": {7, 7}, "^": {10, 9},
}

const unaryPriority = 8

func (p *parser) expression(limit int) {
	p.enter()
	switch p.tok {
	case "not", "-", "#":
		p.next()
		p.expression(unaryPriority)
	default:
		p.simple()
	}
	for {
		priority, ok := binary[p.tok]
		if !ok || priority[0] <= limit {
			break
		}
		p.next()
		p.expression(priority[1])
	}
	p.leave()
}

func (p *parser) simple() {
	switch p.tok {
	case number, text, "nil", "true", "false":
		p.next()
	case "...":
		if !p.vararg {
			p.failHere("cannot use '...' outside a vararg function")
		}
		p.next()
	case "{":
		p.table()
	case "function":
		line := p.line
		p.next()
		p.function(line)
	default:
		p.suffixed()
	}
}

// suffixed reads a name or an expression in brackets, with what follows it, and says whether that is a call, or can be
// assigned to.
func (p *parser) suffixed() (isCall, assignable bool) {
	line := p.line
	switch p.tok {
	case name:
		p.next()
		assignable = true
	case "(":
		p.next()
		p.expression(0)
		p.closes(")", "(", line)
	default:
		p.failHere("unexpected symbol")
	}
	for {
		switch p.tok {
		case ".":
			p.next()
			p.expect(name)
			isCall, assignable = false, true
		case "[":
			p.next()
			p.expression(0)
			p.expect("]")
			isCall, assignable = false, true
		case ":":
			p.next()
			p.expect(name)
			p.arguments()
			isCall, assignable = true, false
		case "(", "{", text:
			p.arguments()
			isCall, assignable = true, false
		default:
			return isCall, assignable
		}
	}
}

func (p *parser) arguments() {
	line := p.line
	switch p.tok {
	case text:
		p.next()
	case "{":
		p.table()
	case "(":
		p.next()
		if p.tok != ")" {
			p.expressions()
		}
		p.closes(")", "(", line)
	default:
		p.failHere("function arguments expected")
	}
}

func (p *parser) table() {
	line := p.line
	p.next()
	for p.tok != "}" {
		switch {
		case p.tok == "[":
			p.next()
			p.expression(0)
			p.expect("]")
			p.expect("=")
		case p.tok == name:
			before := p.lexer
			p.next()
			if p.tok != "=" {
				p.lexer = before
				break
			}
			p.next()
		}
		p.expression(0)
		if !slices.Contains([]token{",", ";"}, p.tok) {
			break
		}
		p.next()
	}
	p.closes("}", "{", line)
}

// function reads parameters and body.
func (p *parser) function(line int) {
	p.enter()
	outer := p.vararg
	p.vararg = false
	p.expect("(")
	if p.tok != ")" {
		for {
			if p.accept("...") {
				p.vararg = true
				break
			}
			if p.tok != name {
				p.failHere("<name> or '...' expected")
			}
			p.next()
			if !p.accept(",") {
				break
			}
		}
	}
	p.expect(")")
	p.block()
	p.closes("end", "function", line)
	p.vararg = outer
	p.leave()
}
