// SPDX-License-Identifier: Apache-2.0

package graphqllimitcount

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/outbound"
)

// schema is what costs rest on: the fields of types, and what their arguments default to. It is immutable; nil knows nothing.
type schema struct {
	query, mutation string
	types           map[string]map[string]*schemaField
}

type schemaField struct {
	// typ is the name of the field's type without what wraps it.
	typ      string
	defaults map[string]string
}

func (s *schema) root(operation ast.Operation) string {
	switch {
	case s == nil:
		return ""
	case operation == ast.Mutation:
		return s.mutation
	}
	return s.query
}

func (s *schema) field(typ, name string) *schemaField {
	if s == nil {
		return nil
	}
	return s.types[typ][name]
}

func (s *schema) narrow(typ, condition string) string {
	if s == nil || condition == "" || s.types[condition] == nil {
		return typ
	}
	return condition
}

// schemas are those that a config has asked for, one for each service, as long as the config does not change.
type schemas struct {
	endpoint string
	headers  map[string]string
	client   *http.Client

	mu    sync.Mutex
	known map[string]*asked
}

// asked is one schema. Whoever asks for it holds mu, and everybody else waits.
type asked struct {
	mu     sync.Mutex
	schema *schema
	err    error
	// again is when to ask again after an error.
	again time.Time
}

const (
	askTimeout = 5 * time.Second
	// failureKept is how long an error is the answer, so that not every request asks a node that does not answer.
	failureKept = 10 * time.Second
	// maxSchema bounds the answer.
	maxSchema = 16 << 20
)

// errUnknownSchema says that the schema is not known yet.
var errUnknownSchema = errors.New("the schema is not known yet")

func newSchemas(endpoint string, headers map[string]string) (*schemas, error) {
	// As the node's own certificate is not checked unless its upstream says so.
	client, err := outbound.Client(outbound.Options{Timeout: askTimeout, SkipVerify: true})
	if err != nil {
		return nil, err
	}
	return &schemas{endpoint: endpoint, headers: headers, client: client, known: make(map[string]*asked)}, nil
}

// get returns the schema of the service behind the exchange. Without mayWait it only looks whether it is known.
func (s *schemas) get(x *gateway.Exchange, mayWait bool) (*schema, error) {
	key := s.endpoint
	if key == "" {
		key = x.Route.ServiceID
	}
	s.mu.Lock()
	a := s.known[key]
	if a == nil {
		a = new(asked)
		s.known[strings.Clone(key)] = a
	}
	s.mu.Unlock()
	if mayWait {
		a.mu.Lock()
	} else if !a.mu.TryLock() {
		return nil, errUnknownSchema
	}
	defer a.mu.Unlock()
	switch {
	case a.schema != nil:
		return a.schema, nil
	case a.err != nil && time.Now().Before(a.again):
		return nil, a.err
	case !mayWait:
		return nil, errUnknownSchema
	}
	if a.schema, a.err = s.ask(x); a.err != nil {
		a.again = time.Now().Add(failureKept)
	}
	return a.schema, a.err
}

// introspection asks for types, fields, the types of fields and the defaults of arguments.
const introspection = `query {
	__schema {
		queryType { name }
		mutationType { name }
		types { name fields { name args { name defaultValue } type { ...Named } } }
	}
}
fragment Named on __Type { name ofType { name ofType { name ofType { name ofType { name ofType { name } } } } } }
`

func (s *schemas) ask(x *gateway.Exchange) (*schema, error) {
	endpoint, host, err := s.target(x)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]string{"query": introspection})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(x.Context(), http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Host = host
	r.Header.Set("Content-Type", "application/json")
	if authorization := x.Request.Header.Get("Authorization"); authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	for name, value := range s.headers {
		r.Header.Set(name, value)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("unexpected status %d from %s", answer.StatusCode, endpoint)
	}
	text, err := outbound.ReadAll(answer, maxSchema)
	if err != nil {
		return nil, err
	}
	return parseSchema(text)
}

// target is where the schema is asked for: the endpoint of the config, or the first node of the route's upstream.
func (s *schemas) target(x *gateway.Exchange) (endpoint, host string, err error) {
	if s.endpoint != "" {
		return s.endpoint, "", nil
	}
	u := x.Route.Upstream
	if x.Route.UpstreamID != "" {
		u = x.Table.Upstream(x.Route.UpstreamID)
	}
	if u == nil || len(u.Nodes) == 0 {
		return "", "", errors.New("the route has no upstream nodes, set introspection_endpoint")
	}
	node := slices.MinFunc(u.Nodes, func(a, b *gateway.Node) int { return strings.Compare(a.Addr, b.Addr) })
	path, _, _ := strings.Cut(x.ForwardTarget(), "?")
	switch u.PassHost {
	case "rewrite":
		host = u.UpstreamHost
	case "pass", "":
		host = x.Request.RawHost
	}
	return u.Scheme + "://" + node.Addr + path, strings.Clone(host), nil
}

// typeRef is a type, or what wraps one.
type typeRef struct {
	Name   string   `json:"name"`
	OfType *typeRef `json:"ofType"`
}

func (t *typeRef) named() string {
	for ; t != nil; t = t.OfType {
		if t.Name != "" {
			return t.Name
		}
	}
	return ""
}

func parseSchema(text []byte) (*schema, error) {
	var answer struct {
		Data struct {
			Schema *struct {
				Query    typeRef `json:"queryType"`
				Mutation typeRef `json:"mutationType"`
				Types    []struct {
					Name   string `json:"name"`
					Fields []struct {
						Name string  `json:"name"`
						Type typeRef `json:"type"`
						Args []struct {
							Name    string  `json:"name"`
							Default *string `json:"defaultValue"`
						} `json:"args"`
					} `json:"fields"`
				} `json:"types"`
			} `json:"__schema"`
		} `json:"data"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("failed to decode the introspection response: %w", err)
	}
	given := answer.Data.Schema
	if given == nil || given.Types == nil {
		return nil, errors.New("introspection response has no __schema.types")
	}
	s := &schema{query: given.Query.Name, mutation: given.Mutation.Name, types: make(map[string]map[string]*schemaField)}
	if s.query == "" {
		s.query = "Query"
	}
	if s.mutation == "" {
		s.mutation = "Mutation"
	}
	for _, t := range given.Types {
		if len(t.Fields) == 0 {
			continue
		}
		fields := make(map[string]*schemaField, len(t.Fields))
		for _, f := range t.Fields {
			made := &schemaField{typ: f.Type.named()}
			for _, argument := range f.Args {
				if argument.Default != nil {
					if made.defaults == nil {
						made.defaults = make(map[string]string)
					}
					made.defaults[argument.Name] = strings.Trim(*argument.Default, `"`)
				}
			}
			fields[f.Name] = made
		}
		s.types[t.Name] = fields
	}
	return s, nil
}
