// SPDX-License-Identifier: Apache-2.0

// Package auth is what authentication plugins share: how they let a request in, challenge it, or let it go on as the
// anonymous consumer.
package auth

import (
	"strings"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/reply"
)

// Config is the part that the configs of authentication plugins have in common.
type Config struct {
	HideCredentials bool   `json:"hide_credentials"`
	Realm           string `json:"realm"`
	// Anonymous names the consumer for whoever does not authenticate; empty refuses them.
	Anonymous string `json:"anonymous_consumer"`
}

// Gate ends what an authentication plugin begins. It is immutable.
type Gate struct {
	// Hide says that a node must not see the credentials.
	Hide      bool
	anonymous string
	challenge string
}

// Gate returns the gate of a config. scheme is the first word of its challenge, such as "Basic".
func (c *Config) Gate(scheme string) Gate {
	return Gate{Hide: c.HideCredentials, anonymous: c.Anonymous, challenge: scheme + ` realm="` + c.Realm + `"`}
}

// Admit lets the request in as the credential's consumer.
func (g *Gate) Admit(x *gateway.Exchange, credential *gateway.Credential) gateway.Verdict {
	x.AttachConsumer(credential.Consumer, credential.ID)
	return gateway.Continue
}

// Fail lets the request go on as the anonymous consumer where the config names one, and refuses it otherwise: with 401,
// the challenge and the body. After a Continue the plugin removes what the client tried to authenticate with from
// wherever it may be, if Hide says so.
func (g *Gate) Fail(x *gateway.Exchange, body []byte) gateway.Verdict {
	return g.FailWith(x, 401, body)
}

// FailWith is Fail with another status.
func (g *Gate) FailWith(x *gateway.Exchange, status int, body []byte) gateway.Verdict {
	if g.anonymous != "" {
		if consumer := x.Table.Consumer(g.anonymous); consumer != nil {
			x.AttachConsumer(consumer, "")
			return gateway.Continue
		}
		status, body = 401, invalidUser
	}
	x.Response.Header.Set(Challenge, g.challenge)
	return x.Exit(status, body)
}

// Challenge is the field that says how to authenticate (RFC 9110 section 11.6.1).
const Challenge = "WWW-Authenticate"

var invalidUser = Message("Invalid user authorization")

// Message returns the body that says text in APISIX's form.
func Message(text string) []byte { return reply.JSON("message", text) }

// Only returns the value of a field. more says that there are several lines of it: two credentials are none, since
// whoever reads the request next may take the other one.
func Only(h *gateway.Header, name string) (value string, found, more bool) {
	for v := range h.Values(name) {
		if found {
			return value, true, true
		}
		value, found = v, true
	}
	return value, found, false
}

// WithoutBearer cuts the word "Bearer", however it is spelled, in front of a token that may have it.
func WithoutBearer(token string) string {
	const prefix = "bearer "
	if len(token) > len(prefix) && gateway.EqualFold(token[:len(prefix)], prefix) {
		return token[len(prefix):]
	}
	return token
}

// IsReference reports whether a field of a config stands for a secret that is kept elsewhere and could not be had.
func IsReference(value string) bool {
	return strings.HasPrefix(value, "$secret://") || strings.HasPrefix(value, "$env://")
}

// externalUser is the variable that holds what is known of a user without a consumer, as JSON.
const externalUser = "external_user"

// SetExternalUser says who sent the request when that is no consumer: user is a JSON object with what the identity
// provider tells of them. It is for plugins that authorize by it, and the variable $external_user.
func SetExternalUser(x *gateway.Exchange, user string) { x.SetVar(externalUser, user) }

// ExternalUser returns what SetExternalUser was told, and whether it was.
func ExternalUser(x *gateway.Exchange) (string, bool) { return x.CustomVar(externalUser) }
