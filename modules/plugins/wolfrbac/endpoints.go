// SPDX-License-Identifier: Apache-2.0

package wolfrbac

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
)

var (
	invalidRequest = auth.Message("invalid request")
	noAppID        = auth.Message("appid is missing")
	unknownAppID   = auth.Message("appid not found")
	callFailed     = auth.Message("request to wolf-server failed!")
	changed        = auth.Message("success to change password")
)

// login gives a client a token for what it logs in with.
func login(x *gateway.Exchange) gateway.Verdict {
	args, verdict := readArgs(x)
	if verdict != gateway.Continue {
		return verdict
	}
	if args == nil {
		return x.Exit(http.StatusBadRequest, invalidRequest)
	}
	if args["appid"] == nil {
		return x.Exit(http.StatusBadRequest, noAppID)
	}
	appID, _ := args["appid"].(string)
	app, _ := applicationOf(x, appID)
	if app == nil {
		return x.Exit(http.StatusBadRequest, unknownAppID)
	}
	answer, verdict := app.ask(x, http.MethodPost, "/wolf/rbac/login.rest", "", encode(args))
	if verdict != gateway.Continue {
		return verdict
	}
	x.Response.Header.Set("Cache-Control", "no-store")
	return x.Exit(http.StatusOK, encode(struct {
		Token string          `json:"rbac_token"`
		User  json.RawMessage `json:"user_info,omitempty"`
	}{token{app.id, answer.Token}.String(), answer.User}))
}

// changePassword changes the password of a token's user.
func changePassword(x *gateway.Exchange) gateway.Verdict {
	args, verdict := readArgs(x)
	if verdict != gateway.Continue {
		return verdict
	}
	app, wolfToken, verdict := loggedIn(x)
	if verdict != gateway.Continue {
		return verdict
	}
	if _, verdict := app.ask(x, http.MethodPost, "/wolf/rbac/change_pwd", wolfToken, encode(args)); verdict != gateway.Continue {
		return verdict
	}
	return x.Exit(http.StatusOK, changed)
}

// userInfo says who a token's user is.
func userInfo(x *gateway.Exchange) gateway.Verdict {
	app, wolfToken, verdict := loggedIn(x)
	if verdict != gateway.Continue {
		return verdict
	}
	answer, verdict := app.ask(x, http.MethodGet, "/wolf/rbac/user_info", wolfToken, nil)
	if verdict != gateway.Continue {
		return verdict
	}
	return x.Exit(http.StatusOK, encode(struct {
		User json.RawMessage `json:"user_info,omitempty"`
	}{answer.User}))
}

// loggedIn returns what a request's token stands for. A verdict other than Continue is the answer.
func loggedIn(x *gateway.Exchange) (*application, string, gateway.Verdict) {
	t, refusal := readToken(x)
	if refusal != nil {
		return nil, "", x.Exit(http.StatusUnauthorized, refusal)
	}
	app, _ := applicationOf(x, t.appID)
	if app == nil {
		return nil, "", x.Exit(http.StatusBadRequest, unknownAppID)
	}
	return app, t.wolf, gateway.Continue
}

// readArgs reads what a request says in its body, as JSON or as a form; nil is nothing that can be understood. A verdict
// other than Continue is the answer.
func readArgs(x *gateway.Exchange) (map[string]any, gateway.Verdict) {
	body, err := x.Body()
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge):
		return nil, x.Exit(http.StatusRequestEntityTooLarge, nil)
	case err != nil:
		return nil, x.Exit(http.StatusBadRequest, nil)
	}
	args := make(map[string]any)
	if strings.Contains(x.Request.Header.Get("Content-Type"), "application/json") {
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		if decoder.Decode(&args) != nil {
			return nil, gateway.Continue
		}
		return args, gateway.Continue
	}
	// Pairs that are broken do not count.
	form, _ := url.ParseQuery(string(body))
	for key, values := range form {
		args[key] = values
		if len(values) == 1 {
			args[key] = values[0]
		}
	}
	return args, gateway.Continue
}

// answer is the part of an answer that is used.
type answer struct {
	Token string          `json:"token"`
	User  json.RawMessage `json:"userInfo"`
}

// ask asks the server for something other than a permission. A verdict other than Continue is the answer to the client.
func (a *application) ask(x *gateway.Exchange, method, path, wolfToken string, body []byte) (*answer, gateway.Verdict) {
	status, text, err := a.call(x.Context(), a.calls, method, a.server+path, wolfToken, body)
	var said struct {
		OK   bool    `json:"ok"`
		Data *answer `json:"data"`
	}
	if err != nil || status != http.StatusOK || json.Unmarshal(text, &said) != nil {
		return nil, x.Exit(http.StatusInternalServerError, callFailed)
	}
	if !said.OK {
		return nil, x.Exit(http.StatusOK, callFailed)
	}
	if said.Data == nil {
		said.Data = new(answer)
	}
	return said.Data, gateway.Continue
}
