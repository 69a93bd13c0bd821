// SPDX-License-Identifier: Apache-2.0

// Package casauth is APISIX's cas-auth plugin: users log in at a CAS server and have a session from then on.
package casauth

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/outbound"
	"github.com/andogate/ando/modules/plugins/auth"
)

//go:embed schema.json
var configSchema []byte

const name = "cas-auth"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 2597, Version: 0.1, Schema: configSchema, New: compile,
	})
}

var (
	invalidState  = auth.Message("invalid callback state")
	invalidTicket = auth.Message("invalid ticket")
	noTicket      = auth.Message("invalid logout request from IdP, no ticket")
)

// timeout bounds one call of the server.
const timeout = 10 * time.Second

// casAuth is one compiled config. It is immutable.
type casAuth struct {
	client *http.Client
	// server is where the CAS server is, without a slash at the end.
	server string
	// service is the URL that the server knows this gateway by; empty when the request says it, together with callback.
	service string
	// callback is the config's text. callbackPath and logoutPath are canonical paths.
	callback, callbackPath, logoutPath string
	// trust stands for the server and the callback: sessions that were begun with others do not count.
	trust string
	// sessionCookie is the name of the cookie that a session is known by.
	sessionCookie string
	// attributes end every Set-Cookie.
	attributes string
	secret     []byte
	maxBody    int64
	log        func() *zap.Logger
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Server   string `json:"idp_uri"`
		Callback string `json:"cas_callback_uri"`
		Logout   string `json:"logout_uri"`
		Cookie   struct {
			Secret   string `json:"secret"`
			Secure   *bool  `json:"secure"`
			SameSite string `json:"samesite"`
		} `json:"cookie"`
		MaxBody int64 `json:"max_req_body_size"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("cas-auth: %w", err)
	}
	insecure := c.Cookie.Secure != nil && !*c.Cookie.Secure
	if c.Cookie.SameSite == "None" && insecure {
		return nil, errors.New(`cookie.secure must be true when cookie.samesite is "None"`)
	}
	if !isAbsolute(c.Server) {
		return nil, fmt.Errorf("property \"idp_uri\" validation failed: %q is not an http or https URL", c.Server)
	}
	a := &casAuth{
		server: strings.TrimSuffix(c.Server, "/"), callback: c.Callback, attributes: "; Path=/; HttpOnly",
		secret: []byte(c.Cookie.Secret), maxBody: c.MaxBody, log: env.Log,
	}
	path := c.Callback
	if isAbsolute(path) {
		a.service = path
		parsed, _ := url.Parse(path)
		if path = parsed.EscapedPath(); path == "" {
			path = "/"
		}
	}
	var err error
	if a.callbackPath, err = canonicalPath(path); err != nil {
		return nil, fmt.Errorf("property \"cas_callback_uri\" validation failed: %q is neither a path nor an http or https URL", c.Callback)
	}
	if a.logoutPath, err = canonicalPath(c.Logout); err != nil {
		return nil, fmt.Errorf("property \"logout_uri\" validation failed: %q is not a path", c.Logout)
	}
	if !insecure {
		a.attributes += "; Secure"
	}
	sameSite := "Lax"
	if c.Cookie.SameSite != "" {
		sameSite = c.Cookie.SameSite
	}
	a.attributes += "; SameSite=" + sameSite
	sum := sha256.Sum256([]byte(c.Server + "|" + c.Callback))
	a.trust = hex.EncodeToString(sum[:])
	a.sessionCookie = "CAS_SESSION_" + a.trust
	if a.client, err = outbound.Client(outbound.Options{Timeout: timeout}); err != nil {
		return nil, fmt.Errorf("cas-auth: %w", err)
	}
	return a, nil
}

func isAbsolute(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && (parsed.Scheme == "http" || parsed.Scheme == "https") && parsed.Host != ""
}

// canonicalPath returns a path of a config, without its query, as requests for it have it.
func canonicalPath(text string) (string, error) {
	path, _, _ := strings.Cut(text, "?")
	decoded, _, err := gateway.CanonicalPath(path)
	return decoded, err
}

// ReadsBody implements gateway.BodyReader.
func (a *casAuth) ReadsBody() int64 { return a.maxBody }

// NeedsBody implements gateway.BodyDecider.
func (a *casAuth) NeedsBody(x *gateway.Exchange) bool { return a.isLogoutMessage(x) }

// isLogoutMessage reports whether the server says that somebody has logged out.
func (a *casAuth) isLogoutMessage(x *gateway.Exchange) bool {
	return x.Request.Method == http.MethodPost && x.Request.Path == a.callbackPath
}

// Access implements gateway.Accessor.
func (a *casAuth) Access(x *gateway.Exchange) gateway.Verdict {
	if x.Request.Method == http.MethodGet && x.Request.Path == a.logoutPath {
		return a.logout(x)
	}
	if a.isLogoutMessage(x) {
		return a.endSession(x)
	}
	if text, found := x.Request.Cookie(a.sessionCookie); found {
		if sessions.use(text, a.trust, x.Start) {
			return gateway.Continue
		}
		a.dropCookie(x, a.sessionCookie)
		return a.sendToLogin(x)
	}
	if ticket, times := x.Request.Arg("ticket"); times > 0 && x.Request.Path == a.callbackPath {
		if waited := x.State(); *waited == nil {
			*waited = true
			return gateway.Wait
		}
		return a.comeBack(x, strings.Clone(ticket), times > 1)
	}
	return a.sendToLogin(x)
}

// setCookie adds a cookie to the response, and dropCookie makes the client forget one.
func (a *casAuth) setCookie(x *gateway.Exchange, name, value string) {
	x.Response.Header.Add("Set-Cookie", name+"="+value+a.attributes)
}

func (a *casAuth) dropCookie(x *gateway.Exchange, name string) {
	a.setCookie(x, name, "deleted; Max-Age=0")
}

// redirect sends the client elsewhere. What it is sent with is for nobody else.
func redirect(x *gateway.Exchange, to string) gateway.Verdict {
	x.Response.Header.Set("Location", to)
	x.Response.Header.Set("Cache-Control", "no-store")
	return x.Exit(http.StatusFound, nil)
}

var (
	_ gateway.Accessor    = (*casAuth)(nil)
	_ gateway.BodyReader  = (*casAuth)(nil)
	_ gateway.BodyDecider = (*casAuth)(nil)
)
