// SPDX-License-Identifier: Apache-2.0

// Package authzkeycloak is APISIX's authz-keycloak plugin: Keycloak's authorization services decide who may pass.
package authzkeycloak

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/outbound"
	"github.com/andogate/ando/modules/plugins/auth"
)

//go:embed schema.json
var configSchema []byte

const name = "authz-keycloak"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 2000, Version: 0.1, Blocking: true, Schema: configSchema, New: compile,
	})
}

var (
	missingToken = auth.Message("Missing JWT token in request")
	// denied is what Keycloak itself says.
	denied = []byte(`{"error":"access_denied","error_description":"not_authorized"}`)
)

// authzKeycloak is one compiled config. It is immutable.
type authzKeycloak struct {
	realm *realm
	// permissions are those that are asked for; with lazy the server says which, by the path.
	permissions []string
	lazy        bool
	// methodScope adds the method to each permission.
	methodScope bool
	// permissive lets the server decide about requests to which no permission belongs.
	permissive bool
	grantType  string
	// redirect is where a client goes that is denied; empty is 403.
	redirect string
	// grantURI is where clients get tokens for a name and a password; empty is nowhere.
	grantURI string
	maxBody  int64
	log      func() *zap.Logger
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		realmConfig
		Permissions permissions `json:"permissions"`
		Lazy        bool        `json:"lazy_load_paths"`
		MethodScope bool        `json:"http_method_as_scope"`
		Mode        string      `json:"policy_enforcement_mode"`
		GrantType   string      `json:"grant_type"`
		Redirect    string      `json:"access_denied_redirect_uri"`
		GrantURI    string      `json:"password_grant_token_generation_incoming_uri"`
		MaxBody     int64       `json:"max_req_body_size"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("authz-keycloak: %w", err)
	}
	for _, property := range [...]struct{ name, address string }{
		{"discovery", c.Discovery}, {"token_endpoint", c.TokenEndpoint}, {"resource_registration_endpoint", c.ResourceEndpoint},
	} {
		if property.address != "" && !isAddress(property.address) {
			return nil, fmt.Errorf("property %q validation failed: %q is not an http or https URL", property.name, property.address)
		}
	}
	if _, err := url.Parse(c.Redirect); err != nil {
		return nil, fmt.Errorf("property \"access_denied_redirect_uri\" validation failed: %q is not a URL", c.Redirect)
	}
	options, err := outbound.ParseOptions(config)
	if err != nil {
		return nil, fmt.Errorf("authz-keycloak: %w", err)
	}
	a := &authzKeycloak{
		permissions: c.Permissions, lazy: c.Lazy, methodScope: c.MethodScope, permissive: c.Mode == "PERMISSIVE",
		grantType: c.GrantType, redirect: c.Redirect, grantURI: c.GrantURI, maxBody: c.MaxBody, log: env.Log,
	}
	if a.realm, err = realmFor(c.realmConfig, options); err != nil {
		return nil, fmt.Errorf("authz-keycloak: %w", err)
	}
	return a, nil
}

// permissions is a list. An empty object is an empty list, as it is the default of APISIX's schema.
type permissions []string

// UnmarshalJSON implements json.Unmarshaler.
func (p *permissions) UnmarshalJSON(raw []byte) error {
	if string(raw) == "{}" {
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(p))
}

func isAddress(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && (parsed.Scheme == "http" || parsed.Scheme == "https") && parsed.Host != ""
}

// ReadsBody implements gateway.BodyReader.
func (a *authzKeycloak) ReadsBody() int64 {
	if a.grantURI == "" {
		return 0
	}
	return a.maxBody
}

// NeedsBody implements gateway.BodyDecider.
func (a *authzKeycloak) NeedsBody(x *gateway.Exchange) bool { return a.isGrant(x) }

// Access implements gateway.Accessor.
func (a *authzKeycloak) Access(x *gateway.Exchange) gateway.Verdict {
	if a.isGrant(x) {
		return a.grant(x)
	}
	field, found, several := auth.Only(&x.Request.Header, auth.Authorization)
	token := strings.TrimSpace(auth.WithoutBearer(field))
	if !found || several || token == "" || gateway.EqualFold(token, "bearer") {
		return x.Exit(http.StatusUnauthorized, missingToken)
	}
	wanted := a.permissions
	if a.lazy {
		var err error
		// The query is not part of what a resource is known by: a client could hide the path behind it.
		if wanted, err = a.realm.resources(x.Context(), strings.Clone(x.Request.EscapedPath)); err != nil {
			return a.failed(x, "resources of a path are not known", err)
		}
	}
	if len(wanted) == 0 && !a.permissive {
		return a.deny(x, http.StatusForbidden, denied)
	}
	form := url.Values{
		"grant_type": {a.grantType}, "audience": {a.realm.ClientID}, "response_mode": {"decision"},
		"permission": a.scoped(wanted, x.Request.Method),
	}
	status, body, err := a.realm.post(x.Context(), form, "Bearer "+token)
	if err != nil {
		return a.failed(x, "permissions cannot be asked for", err)
	}
	if status >= 400 {
		return a.deny(x, status, body)
	}
	// Without an answer of the kind that was asked for nobody has decided.
	var decision struct {
		Result *bool `json:"result"`
	}
	switch {
	case status != http.StatusOK || json.Unmarshal(body, &decision) != nil || decision.Result == nil:
		a.log().Error("answer is no decision", zap.String("plugin", name), zap.Int("status", status))
		return x.Exit(http.StatusServiceUnavailable, nil)
	case !*decision.Result:
		return a.deny(x, http.StatusForbidden, denied)
	}
	return gateway.Continue
}

// scoped returns permissions with the method as one of their scopes, if it is to be.
func (a *authzKeycloak) scoped(wanted []string, method string) []string {
	if !a.methodScope {
		return wanted
	}
	scoped := make([]string, len(wanted))
	for i, permission := range wanted {
		separator := "#"
		if strings.Contains(permission, "#") {
			separator = ", "
		}
		scoped[i] = permission + separator + method
	}
	return scoped
}

// deny answers with a status of 400 or above and what the server says to it.
func (a *authzKeycloak) deny(x *gateway.Exchange, status int, body []byte) gateway.Verdict {
	if status == http.StatusForbidden && a.redirect != "" {
		x.Response.Header.Set("Location", a.redirect)
		return x.Exit(http.StatusTemporaryRedirect, nil)
	}
	return x.Exit(status, body)
}

// failed answers when the server could not be asked.
func (a *authzKeycloak) failed(x *gateway.Exchange, what string, err error) gateway.Verdict {
	a.log().Error(what, zap.String("plugin", name), zap.Error(err))
	var unknown endpointError
	if errors.As(err, &unknown) {
		return x.Exit(http.StatusInternalServerError, []byte(unknown))
	}
	return x.Exit(http.StatusInternalServerError, nil)
}

var (
	_ gateway.Accessor    = (*authzKeycloak)(nil)
	_ gateway.BodyReader  = (*authzKeycloak)(nil)
	_ gateway.BodyDecider = (*authzKeycloak)(nil)
)
