// SPDX-License-Identifier: Apache-2.0

package authzkeycloak

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
)

var (
	noUsername   = auth.Message("username is missing.")
	noPassword   = auth.Message("password is missing.")
	noEndpoint   = auth.Message("Unable to determine token endpoint.")
	noAnswer     = auth.Message("Accessing token endpoint URL failed.")
	strangeReply = auth.Message("Could not decode JSON from response.")
)

// isGrant reports whether a client asks for a token by name and password.
func (a *authzKeycloak) isGrant(x *gateway.Exchange) bool {
	if a.grantURI == "" || x.Request.Method != http.MethodPost || x.Request.RequestURI() != a.grantURI {
		return false
	}
	kind, _, _ := strings.Cut(x.Request.Header.Get("Content-Type"), ";")
	return gateway.EqualFold(strings.TrimSpace(kind), formType)
}

// grant gives the client what the server gives for its name and password.
func (a *authzKeycloak) grant(x *gateway.Exchange) gateway.Verdict {
	body, err := x.Body()
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge):
		return x.Exit(http.StatusRequestEntityTooLarge, nil)
	case err != nil:
		return x.Exit(http.StatusBadRequest, nil)
	case len(body) == 0:
		return x.Exit(http.StatusServiceUnavailable, nil)
	}
	// Pairs that are broken do not count.
	fields, _ := url.ParseQuery(string(body))
	// What is there twice could be read in two ways.
	if len(fields["username"]) != 1 {
		return x.Exit(http.StatusUnprocessableEntity, noUsername)
	}
	if len(fields["password"]) != 1 {
		return x.Exit(http.StatusUnprocessableEntity, noPassword)
	}
	form := a.realm.credentials("password")
	form.Set("username", fields.Get("username"))
	form.Set("password", fields.Get("password"))
	status, answer, err := a.realm.post(x.Context(), form, "")
	var unknown endpointError
	switch {
	case errors.As(err, &unknown):
		return x.Exit(http.StatusServiceUnavailable, noEndpoint)
	case err != nil:
		a.log().Error("token cannot be asked for", zap.String("plugin", name), zap.Error(err))
		return x.Exit(http.StatusUnauthorized, noAnswer)
	case status != http.StatusOK || !json.Valid(answer):
		return x.Exit(http.StatusUnauthorized, strangeReply)
	}
	// RFC 6749 section 5.1.
	x.Response.Header.Set("Cache-Control", "no-store")
	return x.Exit(http.StatusOK, answer)
}
