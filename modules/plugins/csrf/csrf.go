// SPDX-License-Identifier: Apache-2.0

// Package csrf is APISIX's csrf plugin: pages of other sites cannot make a browser send requests that change something
// (double submit of a signed token).
package csrf

import (
	"crypto/subtle"
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

const name = "csrf"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 2980, Version: 0.1, Schema: configSchema, New: compile})
}

// The bodies of refusals, in APISIX's words.
var (
	noToken   = reply.JSON("error_msg", "no csrf token in headers")
	noCookie  = reply.JSON("error_msg", "no csrf cookie")
	mismatch  = reply.JSON("error_msg", "csrf token mismatch")
	badsigned = reply.JSON("error_msg", "Failed to verify the csrf token signature")
)

// guard is one compiled config. It is immutable.
type guard struct {
	// name is that of the field and of the cookie.
	name string
	key  string
	// lifetime is in seconds; 0 is for ever.
	lifetime int64
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Key     string `json:"key"`
		Expires int64  `json:"expires"`
		Name    string `json:"name"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("csrf: %w", err)
	}
	if !httpguts.ValidHeaderFieldName(c.Name) {
		return nil, fmt.Errorf("property \"name\" validation failed: %q can name neither a field nor a cookie", c.Name)
	}
	return &guard{name: c.Name, key: c.Key, lifetime: max(c.Expires, 0)}, nil
}

// Access implements gateway.Accessor.
func (g *guard) Access(x *gateway.Exchange) gateway.Verdict {
	switch x.Request.Method {
	case "GET", "HEAD", "OPTIONS":
		return gateway.Continue
	}
	sent, ok := x.Request.Header.Lookup(g.name)
	if !ok {
		return x.Exit(401, noToken)
	}
	kept, ok := x.Request.Cookie(g.name)
	if !ok {
		return x.Exit(401, noCookie)
	}
	if subtle.ConstantTimeCompare([]byte(sent), []byte(kept)) != 1 {
		return x.Exit(401, mismatch)
	}
	if !g.verify(kept, time.Now().Unix()) {
		return x.Exit(401, badsigned)
	}
	return gateway.Continue
}

// cookieTime is how nginx writes the time at which a cookie expires.
const cookieTime = "Mon, 02-Jan-06 15:04:05 GMT"

// FilterHeader implements gateway.HeaderFilter: every response brings a new token.
func (g *guard) FilterHeader(x *gateway.Exchange) {
	now := time.Now()
	cookie := g.name + "=" + g.issue(now.Unix()) + ";path=/;SameSite=Lax"
	if g.lifetime > 0 {
		cookie += ";Expires=" + now.Add(time.Duration(g.lifetime)*time.Second).UTC().Format(cookieTime)
	}
	x.Response.Header.Add("Set-Cookie", cookie)
}

var (
	_ gateway.Accessor     = (*guard)(nil)
	_ gateway.HeaderFilter = (*guard)(nil)
)
