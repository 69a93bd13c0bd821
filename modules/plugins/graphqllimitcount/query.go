// SPDX-License-Identifier: Apache-2.0

package graphqllimitcount

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// query is what a request asks for: the operations that may be executed, and what they refer to.
type query struct {
	operations ast.OperationList
	fragments  map[string]*ast.FragmentDefinition
	// variables are those of the request, as JSON.
	variables map[string]any
}

const (
	// maxTokens bounds a document beside its length, and maxNesting how deep its brackets go.
	maxTokens, maxNesting = 200_000, 500
)

var (
	errSyntax = errors.New("Invalid graphql request: failed to parse graphql query") //nolint:staticcheck // APISIX's text
	errEmpty  = errors.New("Invalid graphql request: empty graphql query")           //nolint:staticcheck // APISIX's text
)

// parseQuery reads a request. Errors are for the client.
func parseQuery(contentType string, body []byte) (*query, error) {
	q := &query{fragments: make(map[string]*ast.FragmentDefinition)}
	text, operation := string(body), ""
	switch {
	case strings.HasPrefix(contentType, "application/json"):
		var fields map[string]any
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		if err := decoder.Decode(&fields); err != nil {
			return nil, fmt.Errorf("invalid graphql request, %w", err)
		}
		if fields["query"] == nil {
			return nil, errors.New("invalid graphql request, json body[query] is nil")
		}
		isText := false
		if text, isText = fields["query"].(string); !isText {
			return nil, errSyntax
		}
		q.variables, _ = fields["variables"].(map[string]any)
		operation, _ = fields["operationName"].(string)
	case !strings.HasPrefix(contentType, "application/graphql"):
		return nil, fmt.Errorf("invalid graphql request, error content-type: %s", contentType)
	}
	if nesting(text) > maxNesting {
		return nil, errSyntax
	}
	document, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, maxTokens)
	if err != nil {
		return nil, errSyntax
	}
	for _, fragment := range document.Fragments {
		q.fragments[fragment.Name] = fragment
	}
	if len(document.Operations) == 0 {
		return nil, errEmpty
	}
	// Only the operation that is named is executed. Without a name the most expensive one counts.
	q.operations = document.Operations
	if named := document.Operations.ForName(operation); operation != "" && named != nil {
		q.operations = ast.OperationList{named}
	}
	return q, nil
}

// nesting is how many brackets are open at most, those in strings among them.
func nesting(text string) (deepest int) {
	open := 0
	for i := range len(text) {
		switch text[i] {
		case '{', '(', '[':
			open++
			deepest = max(deepest, open)
		case '}', ')', ']':
			open--
		}
	}
	return deepest
}
