// SPDX-License-Identifier: Apache-2.0

// Package graphqllimitcount is APISIX's graphql-limit-count plugin: limit-count for what GraphQL queries cost.
package graphqllimitcount

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/graphql"
	"github.com/andogate/ando/modules/plugins/limit"
	"github.com/andogate/ando/modules/plugins/limitcount"
)

//go:embed schema.json
var configSchema []byte

//go:embed metadata_schema.json
var metadataSchema []byte

const name = "graphql-limit-count"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:           name,
		Priority:       1004,
		Version:        0.1,
		Schema:         configSchema,
		MetadataSchema: metadataSchema,
		Refuse:         limitcount.Refuse,
		New:            compile,
		NewMetadata:    limitcount.NewMetadata,
	})
}

// graphqlLimitCount is one compiled config. It is immutable but for its limiter and the schemas it has seen.
type graphqlLimitCount struct {
	log      func() *zap.Logger
	limiter  *limitcount.Limiter
	strategy string
	maxCost  float64
	factor   float64
	resolves bool
	shows    bool
	rejects  int
	schemas  *schemas
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Strategy string            `json:"cost_strategy"`
		MaxCost  float64           `json:"max_cost"`
		Factor   float64           `json:"score_factor"`
		Resolves bool              `json:"resolve_variables"`
		Endpoint string            `json:"introspection_endpoint"`
		Headers  map[string]string `json:"introspection_headers"`
		Shows    bool              `json:"show_limit_quota_header"`
		Rejects  int               `json:"rejected_code"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("graphql-limit-count: %w", err)
	}
	limiter, err := limitcount.New(name, env, config)
	if err != nil {
		return nil, err
	}
	schemas, err := newSchemas(c.Endpoint, c.Headers)
	if err != nil {
		return nil, fmt.Errorf("graphql-limit-count: %w", err)
	}
	return &graphqlLimitCount{
		log: env.Log, limiter: limiter, strategy: c.Strategy, maxCost: c.MaxCost, factor: c.Factor, resolves: c.Resolves,
		shows: c.Shows, rejects: c.Rejects, schemas: schemas,
	}, nil
}

// ReadsBody implements gateway.BodyReader.
func (g *graphqlLimitCount) ReadsBody() int64 { return graphql.MaxSize }

// NeedsBody implements gateway.BodyDecider: what is no POST is refused.
func (g *graphqlLimitCount) NeedsBody(x *gateway.Exchange) bool { return x.Request.Method == "POST" }

// Blocks implements gateway.Blocker. Beside the limiter only what needs a schema that is not known waits.
func (g *graphqlLimitCount) Blocks() bool { return g.limiter.Blocks() }

// asks is the State of an exchange that waits for a schema.
type asks struct{}

// Access implements gateway.Accessor.
func (g *graphqlLimitCount) Access(x *gateway.Exchange) gateway.Verdict {
	if x.Request.Method != "POST" {
		return x.Exit(405, nil)
	}
	body, err := x.Body()
	if err != nil || len(body) == 0 {
		return refuse(x, 400, "Invalid graphql request: can't get graphql request body")
	}
	q, err := parseQuery(x.Request.Header.Get("Content-Type"), body)
	if err != nil {
		return refuse(x, 400, err.Error())
	}
	_, mayWait := (*x.State()).(asks)
	raw, err := g.rawCost(x, q, mayWait || g.Blocks())
	switch {
	case errors.Is(err, errUnknownSchema):
		*x.State() = asks{}
		return gateway.Wait
	case err != nil:
		g.log().Error("failed to compute the graphql query cost", zap.Error(err))
		return refuse(x, 400, clientText(err))
	}
	if mayWait {
		g.limiter.MayWait(x)
	}
	return g.charge(x, g.scale(raw))
}

// scale makes an integer of a cost, of 1 at least.
func (g *graphqlLimitCount) scale(raw float64) int64 {
	// What has no decoration at all costs something still.
	if g.strategy != "depth" {
		raw += 0.01
	}
	cost := math.Ceil(raw * g.factor)
	if math.IsNaN(cost) || cost > limitcount.MaxCost {
		return limitcount.MaxCost
	}
	return max(1, int64(cost))
}

// charge counts a query. One that is too large is charged too, and refused for that whatever the quota says.
func (g *graphqlLimitCount) charge(x *gateway.Exchange, cost int64) gateway.Verdict {
	if g.shows {
		scratch := limit.Borrow()
		x.Response.Header.Set("X-Graphql-Query-Cost", scratch.Integer(cost))
		scratch.Return()
	}
	verdict := g.limiter.Take(x, cost)
	failed := verdict == gateway.Exit && x.Response.Status == 500 && g.rejects != 500
	if verdict == gateway.Wait || failed {
		return verdict
	}
	if g.maxCost > 0 && float64(cost) > g.maxCost {
		return refuse(x, 403, "Invalid graphql request: query cost "+strconv.FormatInt(cost, 10)+
			" exceeds max_cost "+strconv.FormatFloat(g.maxCost, 'f', -1, 64))
	}
	return verdict
}

func refuse(x *gateway.Exchange, status int, message string) gateway.Verdict {
	body, _ := json.Marshal(map[string]string{"message": message})
	return x.Exit(status, append(body, '\n'))
}

var (
	_ gateway.Accessor    = (*graphqlLimitCount)(nil)
	_ gateway.BodyReader  = (*graphqlLimitCount)(nil)
	_ gateway.BodyDecider = (*graphqlLimitCount)(nil)
	_ gateway.Blocker     = (*graphqlLimitCount)(nil)
)
