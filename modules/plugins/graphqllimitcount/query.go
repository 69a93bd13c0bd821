// SPDX-License-Identifier: Apache-2.0

package graphqllimitcount

import (
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/andogate/ando/modules/plugins/graphql"
)

// query is what a request asks for: the operations that may be executed, and what they refer to.
type query struct {
	operations ast.OperationList
	fragments  map[string]*ast.FragmentDefinition
	// variables are those of the request, as JSON.
	variables map[string]any
}

// parseQuery reads a request. Errors are for the client.
func parseQuery(contentType string, body []byte) (*query, error) {
	r, err := graphql.Parse(contentType, body)
	if err != nil {
		return nil, err
	}
	q := &query{
		operations: r.Document.Operations, fragments: make(map[string]*ast.FragmentDefinition, len(r.Document.Fragments)), variables: r.Variables,
	}
	for _, fragment := range r.Document.Fragments {
		q.fragments[fragment.Name] = fragment
	}
	// Only the operation that is named is executed. Without a name the most expensive one counts.
	if named := q.operations.ForName(r.Operation); r.Operation != "" && named != nil {
		q.operations = ast.OperationList{named}
	}
	return q, nil
}
