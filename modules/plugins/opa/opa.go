// SPDX-License-Identifier: Apache-2.0

// Package opa is APISIX's opa plugin: a policy of an Open Policy Agent decides who may pass.
package opa

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/outbound"
)

//go:embed schema.json
var configSchema []byte

const name = "opa"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 2001, Version: 0.1, Blocking: true, Schema: configSchema, New: compile,
	})
}

// maxAnswer bounds the agent's answer.
const maxAnswer = 1 << 20

// policy is one compiled config. It is immutable.
type policy struct {
	client *http.Client
	url    string
	// route, service and consumer add those objects to the input.
	route, service, consumer bool
	// upstream names the fields of an answer that the node is sent.
	upstream []string
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Host     string   `json:"host"`
		Policy   string   `json:"policy"`
		Route    bool     `json:"with_route"`
		Service  bool     `json:"with_service"`
		Consumer bool     `json:"with_consumer"`
		Upstream []string `json:"send_headers_upstream"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("opa: %w", err)
	}
	options, err := outbound.ParseOptions(config)
	if err != nil {
		return nil, fmt.Errorf("opa: %w", err)
	}
	host, err := url.Parse(c.Host)
	if err != nil || host.Scheme != "http" && host.Scheme != "https" || host.Host == "" {
		return nil, fmt.Errorf("property \"host\" validation failed: %q is not an http or https URL", c.Host)
	}
	p := &policy{
		url:   strings.TrimSuffix(c.Host, "/") + "/v1/data/" + strings.TrimPrefix(c.Policy, "/"),
		route: c.Route, service: c.Service, consumer: c.Consumer, upstream: c.Upstream,
	}
	if _, err := url.Parse(p.url); err != nil {
		return nil, fmt.Errorf("property \"policy\" validation failed: %q cannot be part of a URL", c.Policy)
	}
	if p.client, err = outbound.Client(options); err != nil {
		return nil, fmt.Errorf("opa: %w", err)
	}
	return p, nil
}

// answer is what the agent says. A policy that is not defined has no result.
type answer struct {
	Result *struct {
		Allow      bool            `json:"allow"`
		Reason     json.RawMessage `json:"reason"`
		Headers    map[string]any  `json:"headers"`
		StatusCode json.Number     `json:"status_code"`
	} `json:"result"`
}

// Access implements gateway.Accessor.
func (p *policy) Access(x *gateway.Exchange) gateway.Verdict {
	input, err := json.Marshal(map[string]any{"input": p.input(x)})
	if err != nil {
		return x.Exit(http.StatusServiceUnavailable, nil)
	}
	req, err := http.NewRequestWithContext(x.Context(), http.MethodPost, p.url, bytes.NewReader(input))
	if err != nil {
		return x.Exit(http.StatusServiceUnavailable, nil)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := p.client.Do(req)
	if err != nil {
		return x.Exit(http.StatusForbidden, nil)
	}
	body, err := outbound.ReadAll(res, maxAnswer)
	if err != nil {
		return x.Exit(http.StatusForbidden, nil)
	}
	var a answer
	if json.Unmarshal(body, &a) != nil || a.Result == nil {
		return x.Exit(http.StatusServiceUnavailable, nil)
	}
	if a.Result.Allow {
		// What the policy does not say nobody says: the client cannot speak for it.
		for _, name := range p.upstream {
			x.Request.Header.DelAliases(name)
			if value, ok := fieldOf(a.Result.Headers, name); ok {
				x.Request.Header.Add(name, value)
			}
		}
		return gateway.Continue
	}
	for name := range a.Result.Headers {
		if value, ok := fieldOf(a.Result.Headers, name); ok {
			x.Response.Header.Set(textproto.CanonicalMIMEHeaderKey(name), value)
		}
	}
	return x.Exit(statusOf(a.Result.StatusCode), reasonOf(a.Result.Reason))
}

// fieldOf returns a field of an answer as text that a field can have.
func fieldOf(headers map[string]any, name string) (string, bool) {
	for key, value := range headers {
		if !gateway.EqualFold(key, name) {
			continue
		}
		switch value.(type) {
		case string, float64, bool:
			text := fmt.Sprint(value)
			return text, !strings.ContainsAny(text, "\r\n\x00") && !strings.ContainsAny(key, " \r\n\x00:")
		}
	}
	return "", false
}

func statusOf(code json.Number) int {
	status, err := code.Int64()
	if err != nil || status < 200 || status > 999 {
		return http.StatusForbidden
	}
	return int(status)
}

// reasonOf returns the body of a refusal: a text as it is, anything else as JSON.
func reasonOf(raw json.RawMessage) []byte {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return append([]byte(text), '\n')
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return nil
	}
	return append(compact.Bytes(), '\n')
}

var _ gateway.Accessor = (*policy)(nil)
