// SPDX-License-Identifier: Apache-2.0

// Package keyauth is APISIX's key-auth plugin: it knows a consumer by an API key.
package keyauth

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
)

//go:embed schema.json
var configSchema []byte

//go:embed consumer_schema.json
var consumerSchema []byte

const name = "key-auth"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:           name,
		Priority:       2500,
		Version:        0.1,
		Auth:           true,
		Schema:         configSchema,
		ConsumerSchema: consumerSchema,
		New:            compile,
		NewCredential:  compileCredential,
		UniqueField:    "key",
	})
}

var (
	missingKey = auth.Message("Missing API key in request")
	unknownKey = auth.Message("Invalid API key in request")
)

// keyAuth is one compiled config. It is immutable.
type keyAuth struct {
	header, query string
	gate          auth.Gate
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		auth.Config
		Header string `json:"header"`
		Query  string `json:"query"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("key-auth: %w", err)
	}
	return &keyAuth{header: c.Header, query: c.Query, gate: c.Gate("apikey")}, nil
}

func compileCredential(_ gateway.Env, config json.RawMessage) (key string, credential any, err error) {
	var c struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return "", nil, fmt.Errorf("key-auth: %w", err)
	}
	return c.Key, nil, nil
}

// Rewrite implements gateway.Rewriter.
func (k *keyAuth) Rewrite(x *gateway.Exchange) gateway.Verdict {
	key, inHeader, several := auth.Only(&x.Request.Header, k.header)
	if !inHeader {
		var times int
		key, times = x.Request.Arg(k.query)
		if times == 0 {
			return k.fail(x, missingKey)
		}
		several = times > 1
	}
	if several {
		return k.fail(x, unknownKey)
	}
	// A key that is kept elsewhere and could not be had is found by its reference, which is no secret.
	credential := x.Table.Credential(name, key)
	if credential == nil || auth.IsReference(key) {
		return k.fail(x, unknownKey)
	}
	if k.gate.Hide {
		if inHeader {
			x.Request.Header.Del(k.header)
		} else {
			x.Request.DelArg(k.query)
		}
	}
	return k.gate.Admit(x, credential)
}

func (k *keyAuth) fail(x *gateway.Exchange, body []byte) gateway.Verdict {
	verdict := k.gate.Fail(x, body)
	if verdict == gateway.Continue && k.gate.Hide {
		x.Request.Header.Del(k.header)
		x.Request.DelArg(k.query)
	}
	return verdict
}

var _ gateway.Rewriter = (*keyAuth)(nil)
