// SPDX-License-Identifier: Apache-2.0

// Package wolfrbac is APISIX's wolf-rbac plugin: a wolf-server knows the users of applications and what each may do.
package wolfrbac

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
)

//go:embed schema.json
var configSchema []byte

const name = "wolf-rbac"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:          name,
		Priority:      2555,
		Version:       0.1,
		Auth:          true,
		Blocking:      true,
		Schema:        configSchema,
		New:           compile,
		NewCredential: compileCredential,
		Endpoints: []gateway.Endpoint{
			{Methods: []string{http.MethodPost}, Path: "/apisix/plugin/wolf-rbac/login", Serve: login},
			{Methods: []string{http.MethodPut}, Path: "/apisix/plugin/wolf-rbac/change_pwd", Serve: changePassword},
			{Methods: []string{http.MethodGet}, Path: "/apisix/plugin/wolf-rbac/user_info", Serve: userInfo},
		},
	})
}

var (
	missingToken = auth.Message("Missing rbac token in request")
	invalidToken = auth.Message("invalid rbac token: parse failed")
	invalidAppID = auth.Message("Invalid appid in rbac token")
)

const notJSON = "check permission failed! parse response json failed!"

// wolfRBAC is one compiled config: all it goes by is in the consumers.
type wolfRBAC struct{ log func() *zap.Logger }

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	if _, _, err := compileCredential(env, config); err != nil {
		return nil, err
	}
	return &wolfRBAC{env.Log}, nil
}

// compileCredential returns an *application.
func compileCredential(_ gateway.Env, config json.RawMessage) (key string, credential any, err error) {
	var c struct {
		AppID     string `json:"appid"`
		Server    string `json:"server"`
		Prefix    string `json:"header_prefix"`
		SSLVerify *bool  `json:"ssl_verify"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return "", nil, fmt.Errorf("wolf-rbac: %w", err)
	}
	if server, err := url.Parse(c.Server); err != nil || server.Scheme != "http" && server.Scheme != "https" || server.Host == "" {
		return "", nil, fmt.Errorf("property \"server\" validation failed: %q is not an http or https URL", c.Server)
	}
	if strings.ContainsFunc(c.Prefix, func(r rune) bool { return !isNameChar(r) }) {
		return "", nil, fmt.Errorf("property \"header_prefix\" validation failed: %q cannot begin the name of a field", c.Prefix)
	}
	app := &application{
		id: c.AppID, server: strings.TrimSuffix(c.Server, "/"),
		fields: [...]string{c.Prefix + "UserId", c.Prefix + "Username", c.Prefix + "Nickname"},
	}
	if err := app.connect(c.SSLVerify != nil && !*c.SSLVerify); err != nil {
		return "", nil, fmt.Errorf("wolf-rbac: %w", err)
	}
	return c.AppID, app, nil
}

// isNameChar reports whether the name of a field may have the character (RFC 9110 section 5.1).
func isNameChar(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// applicationOf finds what a consumer says of an application, and the consumer.
func applicationOf(x *gateway.Exchange, id string) (*application, *gateway.Credential) {
	credential := x.Table.Credential(name, id)
	if credential == nil || auth.IsReference(id) {
		return nil, nil
	}
	app, _ := credential.Config.(*application)
	return app, credential
}

// Rewrite implements gateway.Rewriter.
func (w *wolfRBAC) Rewrite(x *gateway.Exchange) gateway.Verdict {
	t, refusal := readToken(x)
	if refusal != nil {
		return x.Exit(http.StatusUnauthorized, refusal)
	}
	app, credential := applicationOf(x, t.appID)
	if app == nil {
		return x.Exit(http.StatusUnauthorized, invalidAppID)
	}
	asked := permission{method: x.Request.Method, path: x.Request.Path, client: x.Request.ClientIP()}
	verdict, err := app.check(x.Context(), asked, t.wolf)
	if err != nil {
		w.log().Error("permission cannot be checked", zap.String("plugin", name), zap.Error(err))
	}
	// What the server does not say of the user nobody says.
	for _, field := range app.fields {
		x.Request.Header.DelAliases(field)
		x.Response.Header.Del(field)
	}
	for i, value := range verdict.user.fields() {
		if value == "" {
			continue
		}
		x.Response.Header.Set(app.fields[i], value)
		if verdict.status == http.StatusOK {
			x.Request.Header.Add(app.fields[i], value)
		}
	}
	if verdict.status != http.StatusOK {
		return x.Exit(verdict.status, verdict.refusal())
	}
	x.AttachConsumer(credential.Consumer, credential.ID)
	return gateway.Continue
}

var _ gateway.Rewriter = (*wolfRBAC)(nil)
