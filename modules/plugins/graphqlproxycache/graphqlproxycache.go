// SPDX-License-Identifier: Apache-2.0

// Package graphqlproxycache is APISIX's graphql-proxy-cache plugin: it answers GraphQL queries with responses that nodes gave
// before.
package graphqlproxycache

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/graphql"
	"github.com/andogate/ando/modules/plugins/proxycache"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

const name = "graphql-proxy-cache"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 1009, Version: 0.1, Schema: configSchema, New: compile,
		Endpoints: []gateway.Endpoint{{Methods: []string{"PURGE"}, Path: "/apisix/plugin/graphql-proxy-cache/*", Serve: purge}},
	})
}

// maxBody is the longest response that is kept.
const maxBody = 64 << 20

// graphqlCache is one compiled config. It is immutable.
type graphqlCache struct {
	*proxycache.Responses
	// version tells what one config keeps from what another one does.
	version  [sha256.Size]byte
	isolated bool
}

// settings are a config as it was given or with its defaults.
type settings struct {
	Strategy  string `json:"cache_strategy"`
	Zone      string `json:"cache_zone"`
	TTL       int64  `json:"cache_ttl"`
	Isolated  bool   `json:"consumer_isolation"`
	SetCookie bool   `json:"cache_set_cookie"`
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var s settings
	if err := json.Unmarshal(config, &s); err != nil {
		return nil, fmt.Errorf("graphql-proxy-cache: %w", err)
	}
	responses, err := proxycache.NewResponses(proxycache.Settings{
		Strategy: s.Strategy, Zone: s.Zone, Statuses: []int{http.StatusOK}, TTL: time.Duration(s.TTL) * time.Second,
		SetCookie: s.SetCookie && s.Strategy == "memory", Isolated: s.Isolated, MaxBody: maxBody,
	})
	if err != nil {
		return nil, err
	}
	version, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("graphql-proxy-cache: %w", err)
	}
	return &graphqlCache{responses, sha256.Sum256(version), s.Isolated}, nil
}

// ReadsBody implements gateway.BodyReader.
func (g *graphqlCache) ReadsBody() int64 { return graphql.MaxSize }

// NeedsBody implements gateway.BodyDecider.
func (g *graphqlCache) NeedsBody(x *gateway.Exchange) bool {
	return x.Request.Method == http.MethodPost
}

var noRequest = reply.JSON("message", "Invalid graphql request: can't get graphql request body")

// keyField tells clients what to purge.
const keyField = "APISIX-Cache-Key"

// Access implements gateway.Accessor.
func (g *graphqlCache) Access(x *gateway.Exchange) gateway.Verdict {
	if g.Waited(x) {
		return g.Answer(x, "")
	}
	r := &x.Request
	var content []byte
	var documents []*ast.QueryDocument
	var err error
	switch r.Method {
	case http.MethodGet:
		if r.Query == "" || len(r.Query) > graphql.MaxSize {
			return x.Exit(http.StatusBadRequest, noRequest)
		}
		documents, err = queried(r)
	case http.MethodPost:
		if content, err = x.Body(); err != nil || len(content) == 0 {
			return x.Exit(http.StatusBadRequest, noRequest)
		}
		documents, err = posted(r, content)
	default:
		return x.Exit(http.StatusMethodNotAllowed, nil)
	}
	if err != nil {
		return x.Exit(http.StatusBadRequest, reply.JSON("message", err.Error()))
	}
	if !slices.ContainsFunc(documents, onlyQueries) || len(documents) > 1 {
		return g.Bypass(x)
	}
	key := g.key(x, content)
	x.Response.Header.Set(keyField, key)
	return g.Answer(x, stored(key))
}

// queried reads a GET. Every argument query counts: nobody knows which one the node takes.
func queried(r *gateway.Request) (documents []*ast.QueryDocument, err error) {
	for name, text := range r.Args() {
		if name != "query" {
			continue
		}
		document, err := graphql.ParseDocument(text)
		if err != nil {
			return nil, err
		}
		documents = append(documents, document)
	}
	if documents == nil {
		return nil, fmt.Errorf("invalid graphql request, args[query] is nil")
	}
	return documents, nil
}

func posted(r *gateway.Request, body []byte) ([]*ast.QueryDocument, error) {
	request, err := graphql.Parse(r.Header.Get("Content-Type"), body)
	if err != nil {
		return nil, err
	}
	return []*ast.QueryDocument{request.Document}, nil
}

// onlyQueries reports whether a document has nothing but queries: what changes something, or goes on, has to reach the node.
func onlyQueries(document *ast.QueryDocument) bool {
	return !slices.ContainsFunc(document.Operations, func(o *ast.OperationDefinition) bool { return o.Operation != ast.Query })
}

// key is what the response to a request is kept under, as clients see it. Beside what APISIX takes it has the request's target:
// one route may lead to several services of GraphQL.
func (g *graphqlCache) key(x *gateway.Exchange, content []byte) string {
	r := &x.Request
	identity := ""
	if g.isolated {
		identity = proxycache.Identity(x)
	}
	b := make([]byte, 0, 256+len(content))
	b = append(b, g.version[:]...)
	for _, part := range [...]string{r.Host, x.Route.ID, x.Route.ServiceID, identity, r.Method, r.EscapedPath, r.Query, r.Header.Get("Content-Type")} {
		b = append(append(b, part...), 1)
	}
	sum := sha256.Sum256(append(b, content...))
	return hex.EncodeToString(sum[:16])
}

// stored is the key in the zone, where others have theirs.
func stored(key string) string { return name + "\x00" + strings.Clone(key) }

var (
	_ gateway.Accessor    = (*graphqlCache)(nil)
	_ gateway.BodyReader  = (*graphqlCache)(nil)
	_ gateway.BodyDecider = (*graphqlCache)(nil)
)
