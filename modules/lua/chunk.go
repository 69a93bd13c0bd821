// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"errors"
	"fmt"
	"strings"

	gopher "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"

	"github.com/andogate/ando/modules/lua/syntax"
)

// Chunk is a compiled source. It is immutable.
type Chunk struct {
	proto *gopher.FunctionProto
}

// Load compiles a source. The error is LuaJIT's where the syntax is wrong, and begins with the name that LuaJIT gives the
// source, and the line. A source that names a part of ngx or of APISIX's core that is not there is refused too, as far as
// that can be told without running it.
func Load(source string) (*Chunk, error) {
	return loadAs(source, syntax.ChunkName(source), new(scanner))
}

// loadAs compiles a source under a name.
func loadAs(source, name string, s *scanner) (chunk *Chunk, err error) {
	if err := syntax.Check(source, name); err != nil {
		return nil, err
	}
	// The syntax is right, so whatever goes wrong is a limit of the compiler.
	defer func() {
		if p := recover(); p != nil {
			chunk, err = nil, fmt.Errorf("%s:1: cannot be compiled: %v", name, p)
		}
	}()
	statements, err := parse.Parse(strings.NewReader(source), name)
	if err != nil {
		return nil, parseError(name, err)
	}
	s.chunk = name
	s.block(statements)
	if s.err != nil {
		return nil, s.err
	}
	proto, err := gopher.Compile(statements, name)
	if err != nil {
		return nil, parseError(name, err)
	}
	return &Chunk{proto}, nil
}

// parseError puts the machine's errors into LuaJIT's form.
func parseError(name string, err error) error {
	var parsing *parse.Error
	var compiling *gopher.CompileError
	switch {
	case errors.As(err, &parsing):
		return fmt.Errorf("%s:%d: %s near '%s'", name, max(parsing.Pos.Line, 1), parsing.Message, parsing.Token)
	case errors.As(err, &compiling):
		return fmt.Errorf("%s:%d: %s", name, compiling.Line, compiling.Message)
	}
	return err
}

// concatName is what the concatenation operator is compiled to: a function that counts what it makes. Source cannot spell
// it.
const concatName = "(concat)"

// scanner goes through a syntax tree before it is compiled: it finds names that are not there, and turns concatenations into
// calls. It keeps track of locals and of the libraries they stand for.
type scanner struct {
	chunk string
	line  int
	err   error
	// scopes map the locals that are visible, the innermost scope last, to the library that they stand for, or nil.
	scopes []map[string]*library
	// assigned are the globals that the chunk makes its own.
	assigned map[string]bool
	// anyName says that globals may be anything.
	anyName bool
}

func (s *scanner) refuse(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("%s:%d: %s", s.chunk, max(s.line, 1), fmt.Sprintf(format, args...))
	}
}

func (s *scanner) open() { s.scopes = append(s.scopes, map[string]*library{}) }

func (s *scanner) close() { s.scopes = s.scopes[:len(s.scopes)-1] }

func (s *scanner) declare(name string, is *library) {
	if len(s.scopes) == 0 {
		s.open()
	}
	s.scopes[len(s.scopes)-1][name] = is
}

// lookup finds what a local stands for.
func (s *scanner) lookup(name string) (is *library, local bool) {
	for i := len(s.scopes) - 1; i >= 0; i-- {
		if is, ok := s.scopes[i][name]; ok {
			return is, true
		}
	}
	return nil, false
}

func (s *scanner) block(statements []ast.Stmt, locals ...string) {
	s.open()
	for _, name := range locals {
		s.declare(name, nil)
	}
	for _, statement := range statements {
		s.statement(statement)
	}
	s.close()
}

func (s *scanner) statement(statement ast.Stmt) {
	if line := statement.Line(); line > 0 {
		s.line = line
	}
	switch st := statement.(type) {
	case *ast.AssignStmt:
		s.expressions(st.Rhs)
		for _, target := range st.Lhs {
			s.assign(target)
		}
	case *ast.LocalAssignStmt:
		s.local(st)
	case *ast.FuncCallStmt:
		s.expression(&st.Expr)
	case *ast.DoBlockStmt:
		s.block(st.Stmts)
	case *ast.WhileStmt:
		s.expression(&st.Condition)
		s.block(st.Stmts)
	case *ast.RepeatStmt:
		// The condition sees the locals of the block.
		s.open()
		for _, inner := range st.Stmts {
			s.statement(inner)
		}
		s.expression(&st.Condition)
		s.close()
	case *ast.IfStmt:
		s.expression(&st.Condition)
		s.block(st.Then)
		s.block(st.Else)
	case *ast.NumberForStmt:
		s.expression(&st.Init)
		s.expression(&st.Limit)
		s.expression(&st.Step)
		s.block(st.Stmts, st.Name)
	case *ast.GenericForStmt:
		s.expressions(st.Exprs)
		s.block(st.Stmts, st.Names...)
	case *ast.FuncDefStmt:
		if st.Name.Func != nil {
			s.assign(st.Name.Func)
		} else {
			s.expression(&st.Name.Receiver)
		}
		s.function(st.Func)
	case *ast.ReturnStmt:
		s.expressions(st.Exprs)
	}
}

// local knows "local core = require('apisix.core')" and "local log = core.log".
func (s *scanner) local(st *ast.LocalAssignStmt) {
	if len(st.Exprs) == 1 && len(st.Names) == 1 {
		if f, ok := st.Exprs[0].(*ast.FunctionExpr); ok {
			// A local function sees itself.
			s.declare(st.Names[0], nil)
			s.function(f)
			return
		}
	}
	stands := make([]*library, len(st.Names))
	for i := range st.Exprs {
		if i < len(stands) {
			stands[i] = s.library(st.Exprs[i])
		}
	}
	s.expressions(st.Exprs)
	for i, name := range st.Names {
		s.declare(name, stands[i])
	}
}

// assign forgets what the target stood for.
func (s *scanner) assign(target ast.Expr) {
	ident, ok := target.(*ast.IdentExpr)
	if !ok {
		s.expression(&target)
		return
	}
	for i := len(s.scopes) - 1; i >= 0; i-- {
		if _, ok := s.scopes[i][ident.Value]; ok {
			s.scopes[i][ident.Value] = nil
			return
		}
	}
	if s.assigned == nil {
		s.assigned = make(map[string]bool)
	}
	s.assigned[ident.Value] = true
}

func (s *scanner) expressions(list []ast.Expr) {
	for i := range list {
		s.expression(&list[i])
	}
}

func (s *scanner) expression(at *ast.Expr) {
	if *at == nil {
		return
	}
	if line := (*at).Line(); line > 0 {
		s.line = line
	}
	switch e := (*at).(type) {
	case *ast.IdentExpr:
		s.global(e.Value)
	case *ast.AttrGetExpr:
		s.member(e)
		s.expression(&e.Object)
		s.expression(&e.Key)
	case *ast.TableExpr:
		for _, field := range e.Fields {
			s.expression(&field.Key)
			s.expression(&field.Value)
		}
	case *ast.FuncCallExpr:
		s.require(e)
		s.expression(&e.Func)
		s.expression(&e.Receiver)
		s.expressions(e.Args)
	case *ast.LogicalOpExpr:
		s.expression(&e.Lhs)
		s.expression(&e.Rhs)
	case *ast.RelationalOpExpr:
		s.expression(&e.Lhs)
		s.expression(&e.Rhs)
	case *ast.ArithmeticOpExpr:
		s.expression(&e.Lhs)
		s.expression(&e.Rhs)
	case *ast.UnaryMinusOpExpr:
		s.expression(&e.Expr)
	case *ast.UnaryNotOpExpr:
		s.expression(&e.Expr)
	case *ast.UnaryLenOpExpr:
		s.expression(&e.Expr)
	case *ast.FunctionExpr:
		s.function(e)
	case *ast.StringConcatOpExpr:
		*at = s.concat(e)
	}
}

func (s *scanner) function(f *ast.FunctionExpr) {
	names := f.ParList.Names
	s.block(f.Stmts, append(names[:len(names):len(names)], "self")...)
}

// concat makes a call of a chain of concatenations.
func (s *scanner) concat(e *ast.StringConcatOpExpr) ast.Expr {
	call := &ast.FuncCallExpr{Func: &ast.IdentExpr{Value: concatName}, AdjustRet: true}
	line, last := e.Line(), e.LastLine()
	for {
		call.Args = append(call.Args, e.Lhs)
		right, chained := e.Rhs.(*ast.StringConcatOpExpr)
		if !chained {
			call.Args = append(call.Args, e.Rhs)
			break
		}
		e = right
	}
	s.expressions(call.Args)
	// A call at the end would bring all its results along.
	if inner, ok := call.Args[len(call.Args)-1].(*ast.FuncCallExpr); ok {
		inner.AdjustRet = true
	}
	if inner, ok := call.Args[len(call.Args)-1].(*ast.Comma3Expr); ok {
		inner.AdjustRet = true
	}
	for _, node := range []ast.Expr{call, call.Func} {
		node.SetLine(line)
		node.SetLastLine(last)
	}
	return call
}

// global refuses globals of Lua that the sandbox lacks.
func (s *scanner) global(name string) {
	if _, local := s.lookup(name); local || s.assigned[name] || s.anyName {
		return
	}
	if instead, missing := missingGlobals[name]; missing {
		s.refuse("%s is not available%s", name, instead)
	}
}

// member refuses members that a library lacks.
func (s *scanner) member(e *ast.AttrGetExpr) {
	lib := s.library(e.Object)
	key, ok := e.Key.(*ast.StringExpr)
	if lib == nil || !ok || lib.has(key.Value) {
		return
	}
	s.refuse("%s.%s is not available", lib.name, key.Value)
}

// require refuses modules that are not there.
func (s *scanner) require(e *ast.FuncCallExpr) {
	name, ok := s.required(e)
	if ok && modules[name] == nil {
		s.refuse("module '%s' not found", name)
	}
}

// required returns the module that a call of require with a literal asks for.
func (s *scanner) required(e ast.Expr) (name string, ok bool) {
	call, isCall := e.(*ast.FuncCallExpr)
	if !isCall || len(call.Args) != 1 {
		return "", false
	}
	f, isName := call.Func.(*ast.IdentExpr)
	literal, isText := call.Args[0].(*ast.StringExpr)
	if !isName || !isText || f.Value != "require" {
		return "", false
	}
	if _, local := s.lookup("require"); local || s.assigned["require"] {
		return "", false
	}
	return literal.Value, true
}

// library returns the library that an expression stands for, or nil.
func (s *scanner) library(e ast.Expr) *library {
	switch e := e.(type) {
	case *ast.IdentExpr:
		if is, local := s.lookup(e.Value); local || s.assigned[e.Value] || s.anyName {
			return is
		}
		return globals[e.Value]
	case *ast.AttrGetExpr:
		if key, ok := e.Key.(*ast.StringExpr); ok {
			if lib := s.library(e.Object); lib != nil {
				return lib.parts[key.Value]
			}
		}
	case *ast.FuncCallExpr:
		if name, ok := s.required(e); ok {
			return modules[name]
		}
	}
	return nil
}
