// SPDX-License-Identifier: Apache-2.0

// Package ldapauthadvanced is APISIX's ldap-auth-advanced plugin: it searches an LDAP directory for a user, logs in as
// whom it has found, and knows a consumer by that entry.
package ldapauthadvanced

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
	"github.com/andogate/ando/modules/plugins/directory"
)

//go:embed schema.json
var configSchema []byte

//go:embed consumer_schema.json
var consumerSchema []byte

const name = "ldap-auth-advanced"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:           name,
		Priority:       2541,
		Version:        0.1,
		Auth:           true,
		Blocking:       true,
		Schema:         configSchema,
		ConsumerSchema: consumerSchema,
		New:            compile,
		NewCredential:  directory.Credential,
		UniqueField:    "user_dn",
	})
}

var required = auth.Message("Authorization required")

// ldapAuth is one compiled config. It is immutable.
type ldapAuth struct {
	server directory.Server
	search directory.Search
	scheme string
	// consumerRequired refuses users whom no consumer stands for.
	consumerRequired bool
	gate             auth.Gate
	log              func() *zap.Logger
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		auth.Config
		LDAPURI           string `json:"ldap_uri"`
		BaseDN            string `json:"base_dn"`
		Attribute         string `json:"attribute"`
		BindDN            string `json:"bind_dn"`
		LDAPPassword      string `json:"ldap_password"`
		UseLDAPS          bool   `json:"use_ldaps"`
		UseStartTLS       bool   `json:"use_starttls"`
		SSLVerify         bool   `json:"ssl_verify"`
		Timeout           int64  `json:"timeout"`
		KeepAlive         bool   `json:"keepalive"`
		KeepAliveTimeout  int64  `json:"keepalive_timeout"`
		KeepAlivePoolSize int    `json:"keepalive_pool_size"`
		KeepAlivePoolName string `json:"keepalive_pool_name"`
		SizeLimit         int    `json:"size_limit"`
		TimeLimit         int    `json:"time_limit"`
		HeaderType        string `json:"header_type"`
		ConsumerRequired  bool   `json:"consumer_required"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("ldap-auth-advanced: %w", err)
	}
	security := directory.Plain
	switch {
	case c.UseLDAPS && c.UseStartTLS:
		return nil, errors.New(`only one of properties "use_ldaps" and "use_starttls" can be true`)
	case c.UseLDAPS:
		security = directory.LDAPS
	case c.UseStartTLS:
		security = directory.StartTLS
	}
	if c.BindDN != "" && c.LDAPPassword == "" {
		return nil, errors.New(`property "ldap_password" is required when "bind_dn" is set`)
	}
	addr, err := directory.Address(c.LDAPURI, security)
	if err != nil {
		return nil, fmt.Errorf("property \"ldap_uri\" validation failed: %w", err)
	}
	server := directory.Server{
		Addr: addr, Security: security, SkipVerify: !c.SSLVerify, Timeout: time.Duration(c.Timeout) * time.Millisecond,
		Pool: c.KeepAlivePoolName,
	}
	if c.KeepAlive {
		server.Idle, server.IdleTimeout = c.KeepAlivePoolSize, time.Duration(c.KeepAliveTimeout)*time.Millisecond
	}
	challenge := c.HeaderType
	if challenge == "basic" {
		challenge = "Basic"
	}
	return &ldapAuth{
		server: server,
		search: directory.Search{
			BindDN: c.BindDN, Password: c.LDAPPassword, BaseDN: c.BaseDN, Attribute: c.Attribute,
			SizeLimit: c.SizeLimit, TimeLimit: c.TimeLimit,
		},
		scheme: c.HeaderType, consumerRequired: c.ConsumerRequired, gate: c.Gate(challenge), log: env.Log,
	}, nil
}

// Rewrite implements gateway.Rewriter.
func (l *ldapAuth) Rewrite(x *gateway.Exchange) gateway.Verdict {
	field, found, several := auth.Only(&x.Request.Header, "Proxy-Authorization")
	if !found {
		field, _, several = auth.Only(&x.Request.Header, auth.Authorization)
	}
	user, password, ok := auth.ParseBasic(field, l.scheme)
	if !ok || several {
		return l.gate.Fail(x, required)
	}
	user = directory.Typed(user)
	dn, err := l.server.Find(x.Context(), l.search, user, directory.Typed(password))
	switch {
	case errors.Is(err, directory.ErrCredentials), errors.Is(err, directory.ErrAmbiguous):
		return l.gate.Fail(x, required)
	case err != nil:
		l.log().Warn("directory cannot be asked", zap.String("plugin", name), zap.Error(err))
		return x.Exit(500, nil)
	}
	if known := x.Table.Credential(name, directory.NormalDN(dn)); known != nil {
		return l.gate.Admit(x, known)
	}
	if l.consumerRequired {
		return l.gate.Fail(x, required)
	}
	facts, err := json.Marshal(map[string]string{"username": user, "user_dn": dn})
	if err != nil {
		return x.Exit(500, nil)
	}
	auth.SetExternalUser(x, string(facts))
	return gateway.Continue
}

var _ gateway.Rewriter = (*ldapAuth)(nil)
