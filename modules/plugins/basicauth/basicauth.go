// SPDX-License-Identifier: Apache-2.0

// Package basicauth is APISIX's basic-auth plugin: it knows a consumer by name and password (RFC 7617).
package basicauth

import (
	"crypto/sha256"
	"crypto/subtle"
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

const name = "basic-auth"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:           name,
		Priority:       2520,
		Version:        0.1,
		Auth:           true,
		Schema:         configSchema,
		ConsumerSchema: consumerSchema,
		New:            compile,
		NewCredential:  compileCredential,
		UniqueField:    "username",
	})
}

var (
	missing = auth.Message("Missing authorization in request")
	invalid = auth.Message("Invalid authorization in request")
	wrong   = auth.Message("Invalid user authorization")
)

// basicAuth is one compiled config. It is immutable.
type basicAuth struct{ gate auth.Gate }

// credential is a consumer's name and password. Hashes are compared, so that neither the password's text nor its length
// shows in how long that takes. It is immutable.
type credential struct {
	username string
	password [sha256.Size]byte
}

// matches reports whether the password is it, as it is or without white space: what APISIX removes, because so many
// clients encode a line break with it.
func (c *credential) matches(password string) bool {
	asIs, stripped := auth.Sum(password), auth.Sum(auth.WithoutSpace(password))
	return subtle.ConstantTimeCompare(asIs[:], c.password[:])|subtle.ConstantTimeCompare(stripped[:], c.password[:]) == 1
}

// nobody is compared with when there is no such user, so that the answer comes no sooner than for one that exists.
var nobody credential

// proven are the fields that have let somebody in.
var proven auth.Cache

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c auth.Config
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("basic-auth: %w", err)
	}
	return &basicAuth{c.Gate("Basic")}, nil
}

func compileCredential(_ gateway.Env, config json.RawMessage) (key string, compiled any, err error) {
	var c struct{ Username, Password string }
	if err := json.Unmarshal(config, &c); err != nil {
		return "", nil, fmt.Errorf("basic-auth: %w", err)
	}
	if auth.IsReference(c.Password) {
		// A password that could not be had is nobody's, least of all its own name.
		return c.Username, &credential{username: c.Username}, nil
	}
	return c.Username, &credential{c.Username, auth.Sum(c.Password)}, nil
}

// Rewrite implements gateway.Rewriter.
func (b *basicAuth) Rewrite(x *gateway.Exchange) gateway.Verdict {
	field, found, several := auth.Only(&x.Request.Header, auth.Authorization)
	switch {
	case !found:
		return b.fail(x, missing)
	case several:
		return b.fail(x, invalid)
	}
	sum := auth.Sum(field)
	known, _ := proven.Find(x, name, "", &sum)
	if known == nil {
		user, password, ok := auth.ParseBasic(field, "Basic")
		if !ok {
			return b.fail(x, invalid)
		}
		if known = verify(x, user, password); known == nil {
			return b.fail(x, wrong)
		}
		c := known.Config.(*credential)
		proven.Add(&auth.Proof{Sum: sum, Key: c.username, Config: c, Until: auth.NoUntil})
	}
	if b.gate.Hide {
		x.Request.Header.Del(auth.Authorization)
	}
	return b.gate.Admit(x, known)
}

// verify returns the credential of a user if the password is theirs.
func verify(x *gateway.Exchange, user, password string) *gateway.Credential {
	known := x.Table.Credential(name, auth.WithoutSpace(user))
	if known == nil {
		known = x.Table.Credential(name, user)
	}
	if known == nil {
		nobody.matches(password)
		return nil
	}
	if !known.Config.(*credential).matches(password) {
		return nil
	}
	return known
}

func (b *basicAuth) fail(x *gateway.Exchange, body []byte) gateway.Verdict {
	verdict := b.gate.Fail(x, body)
	if verdict == gateway.Continue && b.gate.Hide {
		x.Request.Header.Del(auth.Authorization)
	}
	return verdict
}

var _ gateway.Rewriter = (*basicAuth)(nil)
