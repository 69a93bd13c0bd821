// SPDX-License-Identifier: Apache-2.0

// Package degraphql is APISIX's degraphql plugin: it makes a GraphQL request of one that knows nothing of GraphQL.
package degraphql

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

const name = "degraphql"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 509, Version: 0.1, Schema: configSchema, New: compile})
}

// deGraphQL is one compiled config. It is immutable.
type deGraphQL struct {
	variables []string
	max       int64
	// body and query are what is sent when there are no variables. Otherwise these follow.
	body  []byte
	query string
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Query     string   `json:"query"`
		Variables []string `json:"variables"`
		Operation string   `json:"operation_name"`
		Max       int64    `json:"max_req_body_size"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("degraphql: %w", err)
	}
	document, err := parser.ParseQuery(&ast.Source{Input: c.Query})
	switch {
	case err != nil:
		return nil, fmt.Errorf("failed to parse query: %w", err)
	case len(document.Operations) == 0:
		return nil, errors.New("failed to parse query: there is no operation in it")
	case len(document.Operations) > 1 && c.Operation == "":
		return nil, errors.New("operation_name is required if multiple operations are present in the query")
	}
	d := &deGraphQL{variables: c.Variables, max: c.Max, query: "query=" + url.QueryEscape(c.Query)}
	members := struct {
		Query     string `json:"query"`
		Operation string `json:"operationName,omitempty"`
	}{c.Query, c.Operation}
	if d.body, err = json.Marshal(members); err != nil {
		return nil, fmt.Errorf("degraphql: %w", err)
	}
	if c.Operation != "" {
		d.query += "&operationName=" + url.QueryEscape(c.Operation)
	}
	return d, nil
}

// ReadsBody implements gateway.BodyReader.
func (d *deGraphQL) ReadsBody() int64 { return d.max }

// NeedsBody implements gateway.BodyDecider.
func (d *deGraphQL) NeedsBody(x *gateway.Exchange) bool { return x.Request.Method == http.MethodPost }

// Access implements gateway.Accessor.
func (d *deGraphQL) Access(x *gateway.Exchange) gateway.Verdict {
	switch x.Request.Method {
	case http.MethodPost:
		return d.post(x)
	case http.MethodGet:
		return d.get(x)
	}
	return x.Exit(http.StatusMethodNotAllowed, nil)
}

// post puts the document in the place of the body, which holds the variables.
func (d *deGraphQL) post(x *gateway.Exchange) gateway.Verdict {
	raw, err := x.Body()
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge):
		return x.Exit(http.StatusRequestEntityTooLarge, nil)
	case err != nil:
		return x.Exit(http.StatusBadRequest, nil)
	}
	body := d.body
	if len(d.variables) > 0 {
		variables, err := d.fromBody(raw)
		if err != nil {
			return x.Exit(http.StatusBadRequest, nil)
		}
		body = make([]byte, 0, len(d.body)+len(variables)+len(`,"variables":}`))
		body = append(body, d.body[:len(d.body)-1]...)
		body = append(body, `,"variables":`...)
		body = append(append(body, variables...), '}')
	}
	h := &x.Request.Header
	h.Set("Content-Type", "application/json")
	h.Del("Content-Encoding")
	x.ReplaceBody(body)
	return gateway.Continue
}

// fromBody returns the variables as JSON. Those that are not there are left out; a list has none.
func (d *deGraphQL) fromBody(raw []byte) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) != nil {
			return nil, err
		}
	} else if members == nil {
		return nil, errors.New("the body is null")
	}
	variables := make(map[string]json.RawMessage, len(d.variables))
	for _, name := range d.variables {
		if value, ok := members[name]; ok {
			variables[name] = value
		}
	}
	return json.Marshal(variables)
}

// get puts the document in the place of the query, whose arguments are the variables.
func (d *deGraphQL) get(x *gateway.Exchange) gateway.Verdict {
	query := d.query
	if len(d.variables) > 0 {
		variables, err := json.Marshal(d.fromQuery(x.Request.Query))
		if err != nil {
			return x.Exit(http.StatusBadRequest, nil)
		}
		query += "&variables=" + url.QueryEscape(string(variables))
	}
	x.Request.Query = query
	if target := x.Forward.Target; target != "" {
		path, _, _ := strings.Cut(target, "?")
		x.Forward.Target = path + "?" + query
	}
	return gateway.Continue
}

// fromQuery returns the variables: texts, lists where one is repeated, and true for those without "=", as APISIX has them.
func (d *deGraphQL) fromQuery(query string) map[string]any {
	variables := make(map[string]any, len(d.variables))
	for pair := range strings.SplitSeq(query, "&") {
		key, text, hasValue := strings.Cut(pair, "=")
		key = decode(key)
		if !slices.Contains(d.variables, key) {
			continue
		}
		var value any = true
		if hasValue {
			value = decode(text)
		}
		switch before := variables[key].(type) {
		case nil:
			variables[key] = value
		case []any:
			variables[key] = append(before, value)
		default:
			variables[key] = []any{before, value}
		}
	}
	return variables
}

// decode leaves what is wrongly encoded as it is.
func decode(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	return text
}

var (
	_ gateway.Accessor    = (*deGraphQL)(nil)
	_ gateway.BodyReader  = (*deGraphQL)(nil)
	_ gateway.BodyDecider = (*deGraphQL)(nil)
)
