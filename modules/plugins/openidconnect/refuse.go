// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"encoding/json"
	"errors"
	"fmt"
)

// flatOptions are names that APISIX keeps for itself, and where what they say belongs: in a place that is checked, and
// encrypted where it has to be.
var flatOptions = [...]struct{ name, owner string }{
	{"use_par", "par.enabled"},
	{"pushed_authorization_request_endpoint", "par.endpoint"},
	{"pushed_authorization_request_endpoint_auth_method", "par.endpoint_auth_method"},
	{"use_dpop", "dpop.enabled"},
	{"dpop_signing_alg", "dpop.signing_alg"},
	{"dpop_private_key", "dpop.private_key"},
	{"dpop_public_jwk", "dpop.public_jwk"},
}

// refuse looks for what depends on how the plugin is used, in the order and with the texts of APISIX. It comes before the
// schema, so it takes nothing for granted.
func refuse(config json.RawMessage) error {
	var members map[string]json.RawMessage
	if json.Unmarshal(config, &members) != nil {
		return nil //nolint:nilerr // the schema says what it has to be
	}
	has := func(name string) bool { _, ok := members[name]; return ok }
	is := func(name, value string) bool { return string(members[name]) == value }
	bearerOnly := is("bearer_only", "true")
	if !bearerOnly && !has("session") {
		return errors.New(`property "session.secret" is required when "bearer_only" is false`)
	}
	optional := is("token_endpoint_auth_method", `"private_key_jwt"`) || is("use_pkce", "true")
	if bearerOnly {
		optional = has("public_key") || is("use_jwks", "true") || is("introspection_endpoint_auth_method", `"private_key_jwt"`)
	}
	if !optional && !has("client_secret") {
		return errors.New(`property "client_secret" is required`)
	}
	for _, option := range flatOptions {
		if has(option.name) {
			return fmt.Errorf("property %q is not allowed, use %q instead", option.name, option.owner)
		}
	}
	return nil
}
