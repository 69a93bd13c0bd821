// SPDX-License-Identifier: Apache-2.0

// Package openidconnect is APISIX's openid-connect plugin: it logs browsers in at an OpenID provider and keeps them logged
// in by a session, and takes access tokens from everybody else.
package openidconnect

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
)

//go:embed schema.json
var configSchema []byte

const name = "openid-connect"

// The plugin is not Blocking: who has a session, or a token that is known, need not wait. Everything else waits where it may,
// see [gateway.Wait].
func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 2599, Version: 0.2, Schema: configSchema, Refuse: refuse, New: compile,
	})
}

// relyingParty is one compiled config: a client of a provider. It is immutable but for what it shares.
type relyingParty struct {
	settings
	log      func() *zap.Logger
	provider *provider
	client   *client
	tokens   tokenRules
	sessions sessions
	// scope of what is remembered of tokens: no other config admits by it.
	scope [32]byte
	// redirectPath is the path of redirect_uri; empty is the default, which depends on the request.
	redirectPath string
}

// visit is what one request has come to. It is passed down by the hook; between two hooks it is kept in the exchange.
type visit struct {
	// ctx is nil where nothing may wait: what has to returns errWait.
	ctx context.Context
	// accessToken is what the client sent as X-Access-Token.
	accessToken string
	// setCookies are lines that the response gets.
	setCookies []string
}

// errWait says that there is an answer, but it has to be waited for.
var errWait = errors.New("has to wait")

// The fields that tell the node who somebody is. They are the gateway's alone.
const (
	accessTokenField  = "X-Access-Token"
	idTokenField      = "X-ID-Token"
	userinfoField     = "X-Userinfo"
	refreshTokenField = "X-Refresh-Token"
	rawIDTokenField   = "X-Raw-ID-Token"
)

// Rewrite implements gateway.Rewriter.
func (rp *relyingParty) Rewrite(x *gateway.Exchange) gateway.Verdict {
	var v visit
	if saved, again := (*x.State()).(*visit); again {
		v = *saved
		v.ctx = x.Context()
	} else {
		v.accessToken = x.Request.Header.Get(accessTokenField)
		claimFields(&x.Request.Header)
	}
	verdict := rp.admit(x, &v)
	if verdict == gateway.Wait || len(v.setCookies) > 0 {
		saved := v
		*x.State() = &saved
	}
	return verdict
}

func claimFields(h *gateway.Header) {
	for _, field := range [...]string{accessTokenField, idTokenField, userinfoField, refreshTokenField, rawIDTokenField} {
		h.DelAliases(field)
	}
}

func (rp *relyingParty) admit(x *gateway.Exchange, v *visit) gateway.Verdict {
	if rp.takesTokens() {
		token, malformed := bearerToken(x, v)
		switch {
		case malformed:
			return x.Exit(http.StatusBadRequest, nil)
		case token != "":
			return rp.bearer(x, v, token)
		case rp.BearerOnly:
			x.Response.Header.Set(auth.Challenge, `Bearer realm="`+rp.Realm+`"`)
			return x.Exit(http.StatusUnauthorized, nil)
		}
	}
	return rp.browse(x, v)
}

// bearerToken returns the access token that a request brings along, in Authorization (RFC 6750 section 2.1) or, when it has
// no such field, in X-Access-Token. Two credentials are malformed, as is a scheme without any.
func bearerToken(x *gateway.Exchange, v *visit) (token string, malformed bool) {
	field, found, several := auth.Only(&x.Request.Header, auth.Authorization)
	if !found {
		return v.accessToken, false
	}
	scheme, token, ok := strings.Cut(strings.Trim(field, " \t"), " ")
	token = strings.Trim(token, " \t")
	switch {
	case several || !ok || token == "":
		return "", true
	case !gateway.EqualFold(scheme, "bearer"):
		return "", false
	}
	return token, false
}

// FilterHeader implements gateway.HeaderFilter.
func (rp *relyingParty) FilterHeader(x *gateway.Exchange) {
	v, ok := (*x.State()).(*visit)
	if !ok {
		return
	}
	for _, line := range v.setCookies {
		x.Response.Header.Add("Set-Cookie", line)
	}
}

// tell gives the node what the config wants it to know. Empty texts are not there to tell.
func (rp *relyingParty) tell(x *gateway.Exchange, accessToken, userinfo string) {
	h := &x.Request.Header
	if accessToken != "" && rp.SetAccessToken {
		if rp.InAuthorization {
			h.Set(auth.Authorization, "Bearer "+accessToken)
		} else {
			h.Add(accessTokenField, accessToken)
		}
	}
	if userinfo != "" && rp.SetUserinfo {
		h.Add(userinfoField, userinfo)
	}
}

// refuseToken answers what is wrong with a token (RFC 6750 section 3). reason is text that a quoted string can have.
func (rp *relyingParty) refuseToken(x *gateway.Exchange, reason string) gateway.Verdict {
	x.Response.Header.Set(auth.Challenge, `Bearer realm="`+rp.Realm+`", error="invalid_token", error_description="`+quotable(reason)+`"`)
	return x.Exit(http.StatusUnauthorized, nil)
}

// quotable makes text what RFC 6750 section 3 allows in error_description.
func quotable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, text)
}

// warn logs what could not be done, and why. Errors of this package carry no secret.
func (rp *relyingParty) warn(what string, err error) {
	rp.log().Warn("openid-connect: "+what, zap.String("client_id", rp.ClientID), zap.Error(err))
}

// object decodes a JSON object.
func object(text []byte) (map[string]any, error) {
	var claims map[string]any
	err := json.Unmarshal(text, &claims)
	if err == nil && claims == nil {
		err = errors.New("not an object")
	}
	return claims, err
}

var (
	_ gateway.Rewriter     = (*relyingParty)(nil)
	_ gateway.HeaderFilter = (*relyingParty)(nil)
)
