// SPDX-License-Identifier: Apache-2.0

// Package graphql reads GraphQL requests, for the plugins that look into them.
package graphql

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// MaxSize is how long a request may be: APISIX's graphql.max_size.
const MaxSize = 1 << 20

// Request is what a client asks for.
type Request struct {
	Document *ast.QueryDocument
	// Operation names the one that is to be executed; empty is the only one.
	Operation string
	// Variables are as in the request, numbers as json.Number.
	Variables map[string]any
}

const (
	// maxTokens bounds a document beside its length, and maxNesting how deep its brackets go.
	maxTokens, maxNesting = 200_000, 500
)

// What a client is told of a document that is none. The texts are APISIX's.
var (
	ErrSyntax = errors.New("Invalid graphql request: failed to parse graphql query") //nolint:staticcheck // APISIX's text
	ErrEmpty  = errors.New("Invalid graphql request: empty graphql query")           //nolint:staticcheck // APISIX's text
)

// Parse reads the body of a POST: JSON with a member query, or the document itself. Errors are for the client.
func Parse(contentType string, body []byte) (*Request, error) {
	r := &Request{}
	text := string(body)
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
			return nil, ErrSyntax
		}
		r.Variables, _ = fields["variables"].(map[string]any)
		r.Operation, _ = fields["operationName"].(string)
	case !strings.HasPrefix(contentType, "application/graphql"):
		return nil, fmt.Errorf("invalid graphql request, error content-type: %s", contentType)
	}
	var err error
	r.Document, err = ParseDocument(text)
	return r, err
}

// ParseDocument reads an executable document of one operation or more. The error is ErrSyntax or ErrEmpty.
func ParseDocument(text string) (*ast.QueryDocument, error) {
	if nesting(text) > maxNesting {
		return nil, ErrSyntax
	}
	document, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, maxTokens)
	switch {
	case err != nil:
		return nil, ErrSyntax
	case len(document.Operations) == 0:
		return nil, ErrEmpty
	}
	return document, nil
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
