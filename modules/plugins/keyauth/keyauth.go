// SPDX-License-Identifier: Apache-2.0

// Package keyauth is APISIX's key-auth plugin: it knows a consumer by an API key.
package keyauth

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/andogate/ando/modules/gateway"
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

// The bodies of refusals, in APISIX's words.
var (
	missingKey   = []byte(`{"message":"Missing API key in request"}` + "\n")
	unknownKey   = []byte(`{"message":"Invalid API key in request"}` + "\n")
	noSuchPerson = []byte(`{"message":"Invalid user authorization"}` + "\n")
)

// keyAuth is one compiled config. It is immutable.
type keyAuth struct {
	header, query string
	hide          bool
	// anonymous is the name of the consumer for whoever does not authenticate; empty refuses them.
	anonymous string
	challenge string
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Header          string `json:"header"`
		Query           string `json:"query"`
		HideCredentials bool   `json:"hide_credentials"`
		Realm           string `json:"realm"`
		Anonymous       string `json:"anonymous_consumer"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("key-auth: %w", err)
	}
	return &keyAuth{
		header: c.Header, query: c.Query, hide: c.HideCredentials, anonymous: c.Anonymous,
		challenge: `apikey realm="` + c.Realm + `"`,
	}, nil
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
	key, times := "", 0
	for value := range x.Request.Header.Values(k.header) {
		key = value
		times++
	}
	inHeader := times > 0
	if !inHeader {
		key, times = x.Request.Arg(k.query)
	}
	if times == 0 {
		return k.fail(x, missingKey)
	}
	// Two keys are none: whoever reads the request next may take the other one.
	if times > 1 {
		return k.fail(x, unknownKey)
	}
	credential := x.Table.Credential(name, key)
	if credential == nil {
		return k.fail(x, unknownKey)
	}
	x.AttachConsumer(credential.Consumer, credential.ID)
	if k.hide {
		if inHeader {
			x.Request.Header.Del(k.header)
		} else {
			x.Request.DelArg(k.query)
		}
	}
	return gateway.Continue
}

// fail lets the request go on as the anonymous consumer where there is one, and refuses it otherwise.
func (k *keyAuth) fail(x *gateway.Exchange, body []byte) gateway.Verdict {
	if k.anonymous != "" {
		if consumer := x.Table.Consumer(k.anonymous); consumer != nil {
			x.AttachConsumer(consumer, "")
			if k.hide {
				x.Request.Header.Del(k.header)
				x.Request.DelArg(k.query)
			}
			return gateway.Continue
		}
		body = noSuchPerson
	}
	x.Response.Header.Set("WWW-Authenticate", k.challenge)
	return x.Exit(401, body)
}

var _ gateway.Rewriter = (*keyAuth)(nil)
