// SPDX-License-Identifier: Apache-2.0

// Package cors is APISIX's cors plugin: it tells browsers which other origins may read a route's responses.
package cors

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

//go:embed metadata_schema.json
var metadataSchema []byte

const name = "cors"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 4000, Version: 0.1, Schema: configSchema, MetadataSchema: metadataSchema,
		New: compile, NewMetadata: compileMetadata,
	})
}

// allMethods is what "**" stands for.
const allMethods = "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE"

var errWildcard = errors.New("you can not set '*' for other option when 'allow_credential' is true")

// cors is one compiled config. It is immutable.
type cors struct {
	allow, timing *origins
	// metadata holds the keys of the metadata's allow_origins, in order.
	metadata []string
	// varies says that responses are not the same for all origins.
	varies bool

	methods, headers, expose, maxAge string
	// echoHeaders allows the request fields that are asked for.
	echoHeaders, credentials bool
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Origins        string   `json:"allow_origins"`
		Methods        string   `json:"allow_methods"`
		Headers        string   `json:"allow_headers"`
		Expose         string   `json:"expose_headers"`
		MaxAge         int64    `json:"max_age"`
		Credential     bool     `json:"allow_credential"`
		ByRegex        []string `json:"allow_origins_by_regex"`
		ByMetadata     []string `json:"allow_origins_by_metadata"`
		Timing         *string  `json:"timing_allow_origins"`
		TimingByRegex  []string `json:"timing_allow_origins_by_regex"`
		timingIsAnyone bool
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("cors: %w", err)
	}
	c.timingIsAnyone = c.Timing != nil && *c.Timing == "*"
	if c.Credential && (slices.Contains([]string{c.Origins, c.Methods, c.Headers, c.Expose}, "*") || c.timingIsAnyone) {
		return nil, errWildcard
	}
	p := &cors{
		metadata: c.ByMetadata, methods: c.Methods, headers: c.Headers, expose: c.Expose, credentials: c.Credential,
		maxAge: strconv.FormatInt(c.MaxAge, 10), echoHeaders: c.Headers == "**",
	}
	if p.methods == "**" {
		p.methods = allMethods
	}
	var err error
	if p.allow, err = newOrigins(c.Origins, c.ByRegex); err != nil {
		return nil, err
	}
	if c.Timing != nil || c.TimingByRegex != nil {
		text := ""
		if c.Timing != nil {
			text = *c.Timing
		}
		if p.timing, err = newOrigins(text, c.TimingByRegex); err != nil {
			return nil, err
		}
	}
	p.varies = !p.allow.anyone || p.metadata != nil || p.timing != nil && !p.timing.anyone
	return p, nil
}

// compileMetadata makes a map of sets of origins.
func compileMetadata(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Origins map[string]string `json:"allow_origins"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("cors: %w", err)
	}
	sets := make(map[string]*origins, len(c.Origins))
	for key, text := range c.Origins {
		set, err := newOrigins(text, nil)
		if err != nil {
			return nil, err
		}
		sets[key] = set
	}
	return sets, nil
}

// Rewrite implements gateway.Rewriter. Every OPTIONS is a preflight, as in APISIX. The Origin is decided about here, since
// later plugins may change what the node is to see of it.
func (p *cors) Rewrite(x *gateway.Exchange) gateway.Verdict {
	*x.State() = p.decide(x)
	if x.Request.Method == "OPTIONS" {
		return x.Exit(200, nil)
	}
	return gateway.Continue
}

// decision is what Access-Control-Allow-Origin and Timing-Allow-Origin say; empty leaves them out. One that does not
// depend on the request is made once.
type decision struct{ allow, timing string }

var denied, anyone = new(decision), &decision{allow: "*"}

func (p *cors) decide(x *gateway.Exchange) *decision {
	origin, ok := x.Request.Header.Lookup("Origin")
	allow := p.allow.answer(origin, ok)
	if allow == "" && ok && p.metadata != nil {
		allow = p.byMetadata(x, origin)
	}
	timing := ""
	if p.timing != nil {
		timing = p.timing.answer(origin, ok)
	}
	switch {
	case allow == "" && timing == "":
		return denied
	case allow == "*" && timing == "":
		return anyone
	}
	return &decision{allow, timing}
}

func (p *cors) byMetadata(x *gateway.Exchange, origin string) string {
	sets, _ := x.Table.Metadata(name).(map[string]*origins)
	for _, key := range p.metadata {
		if set := sets[key]; set != nil {
			if allow := set.answer(origin, true); allow != "" {
				return allow
			}
		}
	}
	return ""
}

// FilterHeader implements gateway.HeaderFilter.
func (p *cors) FilterHeader(x *gateway.Exchange) {
	d, ok := (*x.State()).(*decision)
	if !ok {
		d = p.decide(x)
	}
	h := &x.Response.Header
	if p.varies {
		h.Add("Vary", "Origin")
	}
	if d.timing != "" {
		h.Set("Timing-Allow-Origin", d.timing)
	}
	if d.allow == "" {
		return
	}
	h.Set("Access-Control-Allow-Origin", d.allow)
	h.Set("Access-Control-Allow-Methods", p.methods)
	h.Set("Access-Control-Max-Age", p.maxAge)
	if p.expose != "" {
		h.Set("Access-Control-Expose-Headers", p.expose)
	}
	headers := p.headers
	if p.echoHeaders {
		headers = x.Request.Header.Get("Access-Control-Request-Headers")
	}
	if headers != "" {
		h.Set("Access-Control-Allow-Headers", headers)
	}
	if p.credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

var (
	_ gateway.Rewriter     = (*cors)(nil)
	_ gateway.HeaderFilter = (*cors)(nil)
)
