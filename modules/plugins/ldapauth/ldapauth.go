// SPDX-License-Identifier: Apache-2.0

// Package ldapauth is APISIX's ldap-auth plugin: it knows a consumer by a login to an LDAP directory.
package ldapauth

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

const name = "ldap-auth"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:           name,
		Priority:       2540,
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

var (
	missing  = auth.Message("Missing authorization in request")
	invalid  = auth.Message("Invalid authorization in request")
	wrong    = auth.Message("Invalid user authorization")
	stranger = auth.Message("Missing related consumer")
)

// How it talks to a server: APISIX's figures.
const (
	timeout     = 10 * time.Second
	idle        = 5
	idleTimeout = time.Minute
)

// ldapAuth is one compiled config. It is immutable.
type ldapAuth struct {
	server      directory.Server
	uid, baseDN string
	gate        auth.Gate
	log         func() *zap.Logger
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		auth.Config
		BaseDN    string `json:"base_dn"`
		LDAPURI   string `json:"ldap_uri"`
		UseTLS    bool   `json:"use_tls"`
		TLSVerify bool   `json:"tls_verify"`
		UID       string `json:"uid"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("ldap-auth: %w", err)
	}
	security := directory.Plain
	if c.UseTLS {
		security = directory.LDAPS
	}
	addr, err := directory.Address(c.LDAPURI, security)
	if err != nil {
		return nil, fmt.Errorf("property \"ldap_uri\" validation failed: %w", err)
	}
	return &ldapAuth{
		server: directory.Server{
			Addr: addr, Security: security, SkipVerify: !c.TLSVerify, Timeout: timeout, Idle: idle, IdleTimeout: idleTimeout,
		},
		uid: c.UID, baseDN: c.BaseDN, gate: c.Gate("Basic"), log: env.Log,
	}, nil
}

// Rewrite implements gateway.Rewriter.
func (l *ldapAuth) Rewrite(x *gateway.Exchange) gateway.Verdict {
	field, found, several := auth.Only(&x.Request.Header, auth.Authorization)
	if !found {
		return l.gate.Fail(x, missing)
	}
	user, password, ok := auth.ParseBasic(field, "Basic")
	if several || !ok {
		return l.gate.Fail(x, invalid)
	}
	user, password = directory.Typed(user), directory.Typed(password)
	if user == "" {
		return l.gate.Fail(x, wrong)
	}
	dn := directory.UserDN(l.uid, user, l.baseDN)
	switch err := l.server.Login(x.Context(), dn, password); {
	case errors.Is(err, directory.ErrCredentials):
		return l.gate.Fail(x, wrong)
	case err != nil:
		l.log().Warn("directory cannot be asked", zap.String("plugin", name), zap.Error(err))
		return x.Exit(500, nil)
	}
	known := x.Table.Credential(name, directory.NormalDN(dn))
	if known == nil {
		return l.gate.Fail(x, stranger)
	}
	if l.gate.Hide {
		x.Request.Header.Del(auth.Authorization)
	}
	return l.gate.Admit(x, known)
}

var _ gateway.Rewriter = (*ldapAuth)(nil)
