// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"net/http"

	"github.com/andogate/ando/modules/gateway"
)

// maxGraphQL is how much of a GraphQL document conditions look at, and the size of a body that may carry one: APISIX's
// graphql.max_size.
const maxGraphQL = 1 << 20

// graphqlFacts are the outcome of parsing one document. query is the query string it came from, if it did.
type graphqlFacts struct {
	known     bool
	query     string
	operation *operation
}

// graphqlPart is graphql_name, graphql_operation or graphql_root_fields: of the first operation of the document in the
// request, and absent when there is none or it is broken.
func graphqlPart(part string) variable {
	var read func(o *operation) value
	switch part {
	case "name":
		read = func(o *operation) value { return value{kind: isText, text: o.name} }
	case "operation":
		read = func(o *operation) value { return value{kind: isText, text: o.kind} }
	case "root_fields":
		read = func(o *operation) value { return value{kind: isList, list: o.fields} }
	default:
		name := "graphql_" + part
		return variable{text: func(x *gateway.Exchange) (string, bool) { return x.CustomVar(name) }}
	}
	return variable{readsBody: true, value: func(x *gateway.Exchange) value {
		o := requestedOperation(x)
		if o == nil {
			return value{}
		}
		return read(o)
	}}
}

// requestedOperation looks where the contract says: the argument "query" of a GET, the member "query" of a POST of JSON, or
// the whole body of any other POST.
func requestedOperation(x *gateway.Exchange) *operation {
	switch x.Request.Method {
	case http.MethodGet:
		known := &factsOf(x).graphql
		if !known.known || known.query != x.Request.Query {
			text, _ := x.Request.Arg("query")
			*known = graphqlFacts{known: true, query: x.Request.Query, operation: parseOperation(text)}
		}
		return known.operation
	case http.MethodPost:
		body, ok := x.BodyBuffered()
		if !ok || len(body) > maxGraphQL {
			return nil
		}
		f := factsOf(x)
		if !f.graphql.known {
			f.graphql = graphqlFacts{known: true, operation: parseOperation(f.document(x, body))}
		}
		return f.graphql.operation
	}
	return nil
}

func (f *facts) document(x *gateway.Exchange, body []byte) string {
	if media, _ := mediaType(x); media != mediaJSON {
		return string(body)
	}
	object, _ := f.decoded(body).(map[string]any)
	text, _ := object["query"].(string)
	return text
}
