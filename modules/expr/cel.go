// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/andogate/ando/modules/gateway"
)

const (
	// maxCost bounds one evaluation in CEL's units: a step is one or a few, a regular expression a fortieth of the length
	// of the text times that of the pattern. What a client can make the worst expression take is about 5 ms.
	maxCost = 10_000
	// maxNesting bounds comprehensions in comprehensions.
	maxNesting = 2
)

// CEL compiles a predicate in the Common Expression Language over
//
//	request.method, .scheme, .host, .path, .remote_addr   string
//	request.query, request.headers                        map of string to string: the first value of each;
//	                                                      names of headers are in lower case
//	vars("name")                                          any other variable; "" when it is absent
//
// It must be of type bool. The body cannot be looked at. An error while it runs, a missing key or too much work, is false.
func CEL(source string) (gateway.Predicate, error) {
	env, err := celEnv()
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(source)
	if err := issues.Err(); err != nil {
		return nil, celError(issues)
	}
	if got := checked.OutputType(); !got.IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("%w: it must be of type bool, not %s", errExpression, got)
	}
	if err := refuseConstantErrors(env, checked.NativeRep()); err != nil {
		return nil, err
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errExpression, err)
	}
	vars := celVars(checked.NativeRep())
	return func(x *gateway.Exchange) bool {
		result, _, err := program.Eval(&celExchange{x: x, vars: vars})
		return err == nil && result == types.True
	}, nil
}

// celEnv is shared by every expression: it is immutable, and to build it takes milliseconds.
var celEnv = sync.OnceValues(func() (*cel.Env, error) {
	texts := cel.MapType(cel.StringType, cel.StringType)
	options := []cel.EnvOption{
		cel.Variable(exchangeName, exchangeType),
		cel.Variable("request.query", texts),
		cel.Variable("request.headers", texts),
		cel.Macros(cel.GlobalMacro("vars", 1, expandVars)),
		cel.Function(varFunction, cel.Overload("ando_var", []*cel.Type{exchangeType, cel.StringType}, cel.StringType,
			cel.BinaryBinding(readVar))),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(),
			cel.ValidateComprehensionNestingLimit(maxNesting)),
	}
	for name := range celTexts {
		options = append(options, cel.Variable(name, cel.StringType))
	}
	return cel.NewEnv(options...)
})

// No expression can say a name with '@' in it.
const (
	exchangeName = "@exchange"
	varFunction  = "@var"
)

var exchangeType = cel.OpaqueType("ando.Exchange")

var celTexts = map[string]func(r *gateway.Request) string{
	"request.method":      func(r *gateway.Request) string { return r.Method },
	"request.scheme":      func(r *gateway.Request) string { return r.Scheme },
	"request.host":        func(r *gateway.Request) string { return r.Host },
	"request.path":        func(r *gateway.Request) string { return r.Path },
	"request.remote_addr": func(r *gateway.Request) string { return r.ClientIP() },
}

// celError puts the issues on one line, without the picture of the source that cel-go draws.
func celError(issues *cel.Issues) error {
	texts := make([]string, 0, 4)
	for _, issue := range issues.Errors() {
		text := issue.Message
		if strings.Contains(text, "undeclared reference to 'request'") {
			text = "request has method, scheme, host, path, query, headers and remote_addr, each behind a dot"
		}
		if issue.Location != common.NoLocation {
			text = fmt.Sprintf("line %d, column %d: %s", issue.Location.Line(), issue.Location.Column()+1, text)
		}
		texts = append(texts, text)
	}
	return fmt.Errorf("%w: %s", errExpression, strings.Join(texts, "; "))
}

// expandVars turns vars("name") into a call that has the exchange.
func expandVars(factory cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
	name, ok := literalString(args[0])
	if !ok {
		return nil, factory.NewError(args[0].ID(), "vars() takes the name of a variable in quotes")
	}
	if v := resolve(name); v.readsBody {
		return nil, factory.NewError(args[0].ID(), "variable "+name+" looks at the body, which expressions cannot")
	}
	return factory.NewCall(varFunction, factory.NewIdent(exchangeName), args[0]), nil
}

func literalString(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().(types.String)
	return string(text), ok
}

// celVars resolves the variables of an expression.
func celVars(checked *ast.AST) map[string]Var {
	vars := make(map[string]Var)
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != varFunction {
			return
		}
		if name, ok := literalString(e.AsCall().Args()[1]); ok {
			vars[name] = Variable(name)
		}
	}))
	return vars
}

// refuseConstantErrors evaluates every call that rests on nothing but literals: 1/0 is wrong in any request.
func refuseConstantErrors(env *cel.Env, checked *ast.AST) error {
	constant := func(e ast.NavigableExpr) bool {
		return e.Kind() == ast.CallKind && len(ast.MatchDescendants(e, func(e ast.NavigableExpr) bool {
			return e.Kind() == ast.IdentKind || e.Kind() == ast.ComprehensionKind
		})) == 0
	}
	for _, e := range ast.MatchDescendants(ast.NavigateAST(checked), constant) {
		part := ast.NewCheckedAST(ast.NewAST(e, checked.SourceInfo()), checked.TypeMap(), checked.ReferenceMap())
		program, err := env.PlanProgram(part, cel.CostLimit(maxCost))
		if err == nil {
			_, _, err = program.Eval(cel.NoVars())
		}
		if err != nil {
			at := checked.SourceInfo().GetStartLocation(e.ID())
			return fmt.Errorf("%w: line %d, column %d: %w", errExpression, at.Line(), at.Column()+1, err)
		}
	}
	return nil
}

// celExchange is what a program sees of an exchange: the values of its variables, and itself as the value of the one that
// vars() goes by. It serves one evaluation.
type celExchange struct {
	x    *gateway.Exchange
	vars map[string]Var
	// What was asked for is kept: a comprehension asks every turn, and the bound on cost does not count what that takes.
	query, headers ref.Val
	texts          map[string]ref.Val
}

func (e *celExchange) ResolveName(name string) (any, bool) {
	r := &e.x.Request
	if read := celTexts[name]; read != nil {
		return types.String(read(r)), true
	}
	switch name {
	case exchangeName:
		return e, true
	case "request.query":
		if e.query == nil {
			e.query = celMap(queryOf(r))
		}
		return e.query, true
	case "request.headers":
		if e.headers == nil {
			e.headers = celMap(headersOf(r))
		}
		return e.headers, true
	}
	return nil, false
}

func celMap(values map[string]string) ref.Val {
	return types.NewStringStringMap(types.DefaultTypeAdapter, values)
}

func queryOf(r *gateway.Request) map[string]string {
	first := make(map[string]string)
	for name, value := range r.Args() {
		addFirst(first, name, value)
	}
	return first
}

func headersOf(r *gateway.Request) map[string]string {
	first := make(map[string]string, r.Header.Len()+1)
	for name, value := range r.Header.All() {
		addFirst(first, strings.ToLower(name), value)
	}
	if r.RawHost != "" {
		first["host"] = r.RawHost
	}
	return first
}

func addFirst(first map[string]string, name, value string) {
	if _, seen := first[name]; !seen {
		first[name] = value
	}
}

// readVar is what vars() comes down to.
func readVar(exchange, name ref.Val) ref.Val {
	e, key := exchange.(*celExchange), string(name.(types.String))
	if known, ok := e.texts[key]; ok {
		return known
	}
	if e.texts == nil {
		e.texts = make(map[string]ref.Val, len(e.vars))
	}
	text, _ := e.vars[key](e.x)
	e.texts[key] = types.String(text)
	return e.texts[key]
}

var errOpaque = errors.New("an exchange cannot be converted")

func (e *celExchange) Parent() cel.Activation                    { return nil }
func (e *celExchange) Type() ref.Type                            { return exchangeType }
func (e *celExchange) Value() any                                { return e }
func (e *celExchange) Equal(ref.Val) ref.Val                     { return types.False }
func (e *celExchange) ConvertToType(ref.Type) ref.Val            { return types.WrapErr(errOpaque) }
func (e *celExchange) ConvertToNative(reflect.Type) (any, error) { return nil, errOpaque }

var (
	_ cel.Activation = (*celExchange)(nil)
	_ ref.Val        = (*celExchange)(nil)
)
