// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/andogate/ando/admin/standalone"
	andocaddy "github.com/andogate/ando/modules/caddy"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/table"
)

func init() { caddyconfig.RegisterAdapter("apisix", apisixAdapter{}) }

// apisixAdapter turns APISIX's files into Caddy's config: an apisix.yaml or apisix.json, whose objects it declares, or a
// config.yaml, of which it takes what there is a word for in Ando.
//
// A file that is adapted is a config: what is wrong in it is refused as a whole. The store `file` follows a file while
// the gateway runs.
type apisixAdapter struct{}

// Adapt implements caddyconfig.Adapter. Without a file's name, as in a request to Caddy's admin endpoint, the text says
// what it is.
func (apisixAdapter) Adapt(body []byte, options map[string]any) ([]byte, []caddyconfig.Warning, error) {
	name, _ := options["filename"].(string)
	if name == "" {
		name = "apisix.yaml"
		if json.Valid(body) {
			name = "apisix.json"
		}
	}
	a := &apisixFile{name: name, listen: []string{":" + envOr("ANDO_PORT", "9080")}, secure: []string{":" + envOr("ANDO_TLS_PORT", "9443")}}
	if err := a.read(body); err != nil {
		return nil, a.warnings, fmt.Errorf("%s: %w", name, err)
	}
	config, err := a.config()
	return config, a.warnings, err
}

func envOr(name, standard string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return standard
}

// apisixFile is one file on its way to a config.
type apisixFile struct {
	name     string
	warnings []caddyconfig.Warning

	app andocaddy.App
	// listen are the addresses of the gateway, secure those with TLS.
	listen, secure []string
}

func (a *apisixFile) warn(format string, args ...any) {
	a.warnings = append(a.warnings, caddyconfig.Warning{File: a.name, Message: fmt.Sprintf(format, args...)})
}

func (a *apisixFile) read(body []byte) error {
	if filepath.Ext(a.name) != ".json" {
		is, err := a.readSettings(body)
		if is || err != nil {
			return err
		}
	}
	return a.readDocument(body)
}

// readDocument declares the objects of an apisix.yaml or apisix.json. It has no Admin API, as in APISIX.
func (a *apisixFile) readDocument(body []byte) error {
	doc, err := standalone.ParseFile(a.name, body, standalone.Environment)
	if err != nil {
		return err
	}
	objects, findings := doc.Objects(&table.Compiler{Plugins: gateway.RegisteredPlugins()})
	var wrong []error
	for _, finding := range findings {
		wrong = append(wrong, finding)
	}
	for _, name := range doc.Unknown() {
		wrong = append(wrong, fmt.Errorf("unknown list %q; known are %s", name, strings.Join(standalone.Sections, ", ")))
	}
	if len(wrong) > 0 {
		return errors.Join(wrong...)
	}
	for _, o := range objects {
		declared, err := undeclared(o)
		if err != nil {
			return err
		}
		a.app.Objects = append(a.app.Objects, declared)
	}
	if slices.ContainsFunc(objects, func(o gateway.Object) bool { return o.Kind == gateway.StreamRoutes }) {
		a.warn("%s: they are kept, but this config listens for HTTP only: see the stream option of the ando app", gateway.StreamRoutes)
	}
	if names, given := doc.Plugins(); given {
		if err := a.allow(names); err != nil {
			return err
		}
	}
	a.app.Admin = &andocaddy.AdminConfig{Disabled: true}
	a.app.StoreRaw = json.RawMessage(`{"module":"memory"}`)
	return nil
}

// undeclared leaves out of an object's value what its declaration says already.
func undeclared(o gateway.Object) (andocaddy.Declared, error) {
	var value map[string]json.RawMessage
	if err := json.Unmarshal(o.Value, &value); err != nil {
		return andocaddy.Declared{}, err
	}
	delete(value, "id")
	raw, err := json.Marshal(value)
	return andocaddy.Declared{Kind: o.Kind, ID: o.ID, Value: raw}, err
}

// allow narrows the plugins to those of a list. Lists are written for APISIX, so what is not built is not an error.
func (a *apisixFile) allow(names []string) error {
	built := gateway.RegisteredPlugins()
	var missing []string
	for _, name := range names {
		if built[name] == nil {
			missing = append(missing, name)
			continue
		}
		if !slices.Contains(a.app.Plugins, name) {
			a.app.Plugins = append(a.app.Plugins, name)
		}
	}
	if len(missing) > 0 {
		a.warn("plugins: not in this build: %s", strings.Join(missing, ", "))
	}
	if len(a.app.Plugins) == 0 {
		return errors.New("plugins: none of the list is in this build")
	}
	return nil
}

// config is the whole config, with what the built-in one has around its gateway.
func (a *apisixFile) config() ([]byte, error) {
	servers := map[string]*caddyhttp.Server{}
	if len(a.listen) > 0 {
		servers["srv0"] = serverOn(a.listen)
	}
	if len(a.secure) > 0 {
		// Its certificates are those of ssl objects.
		servers["srv1"] = serverOn(a.secure)
		servers["srv1"].TLSConnPolicies = caddytls.ConnectionPolicies{new(caddytls.ConnectionPolicy)}
	}
	persist := false
	return json.Marshal(caddy.Config{
		Admin: &caddy.AdminConfig{Config: &caddy.ConfigSettings{Persist: &persist}},
		AppsRaw: caddy.ModuleMap{
			"ando": caddyconfig.JSON(&a.app, &a.warnings),
			"http": caddyconfig.JSON(caddyhttp.App{Servers: servers}, &a.warnings),
		},
	})
}

// serverOn is a server that does nothing but hand requests to the gateway.
func serverOn(addresses []string) *caddyhttp.Server {
	listen := make([]string, len(addresses))
	for i, address := range addresses {
		listen[i] = "ando/" + address
	}
	return &caddyhttp.Server{
		Listen:              listen,
		ListenerWrappersRaw: []json.RawMessage{json.RawMessage(`{"wrapper":"ando"}`)},
		Routes:              caddyhttp.RouteList{{HandlersRaw: []json.RawMessage{json.RawMessage(`{"handler":"ando"}`)}}},
		AutoHTTPS:           &caddyhttp.AutoHTTPSConfig{Disabled: true},
	}
}

var _ caddyconfig.Adapter = apisixAdapter{}
