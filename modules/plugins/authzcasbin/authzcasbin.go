// SPDX-License-Identifier: Apache-2.0

// Package authzcasbin is APISIX's authz-casbin plugin: the rules of a Casbin policy decide who may pass.
package authzcasbin

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
)

//go:embed schema.json
var configSchema []byte

//go:embed fallback_schema.json
var fallbackSchema []byte

//go:embed metadata_schema.json
var metadataSchema []byte

const name = "authz-casbin"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 2560, Version: 0.1,
		Schema: configSchema, FallbackSchema: fallbackSchema, MetadataSchema: metadataSchema,
		New: compile, NewMetadata: compileMetadata,
	})
}

var (
	denied   = auth.Message("Access Denied")
	noPolicy = auth.Message("not enough configuration to create enforcer")
)

// anonymous is the user of a request that names none.
const anonymous = "anonymous"

// authzCasbin is one compiled config. It is immutable.
type authzCasbin struct {
	// username is the field that names the user.
	username string
	// policy is nil when that of the metadata holds.
	policy *policy
	log    func() *zap.Logger
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Model      *string `json:"model"`
		Policy     *string `json:"policy"`
		ModelPath  *string `json:"model_path"`
		PolicyPath *string `json:"policy_path"`
		Username   string  `json:"username"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("authz-casbin: %w", err)
	}
	a := &authzCasbin{username: c.Username, log: env.Log}
	var err error
	switch {
	case c.ModelPath != nil && c.PolicyPath != nil:
		a.policy, err = policyInFiles(*c.ModelPath, *c.PolicyPath)
	case c.Model != nil && c.Policy != nil:
		a.policy, err = policyFor(*c.Model, *c.Policy)
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// compileMetadata returns a *policy.
func compileMetadata(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Model  string `json:"model"`
		Policy string `json:"policy"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("authz-casbin: %w", err)
	}
	return policyFor(c.Model, c.Policy)
}

// Rewrite implements gateway.Rewriter.
func (a *authzCasbin) Rewrite(x *gateway.Exchange) gateway.Verdict {
	p := a.policy
	if p == nil {
		if p, _ = x.Table.Metadata(name).(*policy); p == nil {
			return x.Exit(http.StatusServiceUnavailable, noPolicy)
		}
	}
	user, found, several := auth.Only(&x.Request.Header, a.username)
	switch {
	case several:
		return x.Exit(http.StatusForbidden, denied)
	case !found:
		user = anonymous
	}
	asked := question{user, x.Request.Path, x.Request.Method}
	allowed, known := p.recall(asked)
	if !known {
		if waited := x.State(); p.slow && *waited == nil {
			*waited = true
			return gateway.Wait
		}
		var err error
		if allowed, err = p.decide(asked); err != nil {
			a.log().Error("policy cannot decide", zap.String("plugin", name), zap.Error(err))
			return x.Exit(http.StatusInternalServerError, nil)
		}
	}
	if !allowed {
		return x.Exit(http.StatusForbidden, denied)
	}
	return gateway.Continue
}

var _ gateway.Rewriter = (*authzCasbin)(nil)
