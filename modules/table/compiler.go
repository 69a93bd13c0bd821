// SPDX-License-Identifier: Apache-2.0

package table

import (
	"encoding/json"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/secret"
	"github.com/andogate/ando/modules/upstream/discovery"
)

// Compiler makes tables. It is immutable.
type Compiler struct {
	// Router is HostURI, URI or URIWithParameter; empty is HostURI.
	Router string
	// Plugins are those that objects may use.
	Plugins gateway.Plugins
	// StreamPlugins are those that stream routes may use; nil is every registered one.
	StreamPlugins gateway.Plugins
	// Keyring decrypts the fields that are stored encrypted; nil takes them as they are.
	Keyring *secret.Keyring
	// Secrets resolves references to secrets that are kept elsewhere; nil knows the environment alone.
	Secrets *secret.Resolver
	// Discovery finds out the nodes that upstreams have by name or by service; nil knows no services, and names are resolved
	// when they are dialled.
	Discovery *discovery.Pool
	// Log returns the logger of the newest Caddy config; nil logs nothing.
	Log func() *zap.Logger
}

func (c *Compiler) log() *zap.Logger {
	if c.Log == nil {
		return zap.NewNop()
	}
	return c.Log()
}

// Compile implements gateway.Compiler.
func (c *Compiler) Compile(rev uint64, objects []gateway.Object) (gateway.Table, []error) {
	return c.compile(nil, rev, objects)
}

// Recompile implements gateway.Recompiler.
func (c *Compiler) Recompile(prior gateway.Table, rev uint64, objects []gateway.Object) (gateway.Table, []error) {
	before, _ := prior.(*Table)
	return c.compile(before, rev, objects)
}

func (c *Compiler) compile(prior *Table, rev uint64, objects []gateway.Object) (gateway.Table, []error) {
	t := &Table{compiler: c, rev: rev, router: newRouter(c.Router)}
	b := newBuilder(t, prior)
	b.reader.seen = make(map[configKey]*config)
	b.streamReader.seen = b.reader.seen
	b.conditions = make(map[string]*conditions)
	for i := range objects {
		b.put(objects[i])
	}
	b.build()
	return t, b.faults
}

// With implements gateway.Table. When objects refer to each other the order of the changes does not matter: what counts
// is the state after the last.
func (t *Table) With(changes []gateway.Change) (gateway.Table, error) {
	next := *t
	b := newBuilder(&next, t)
	for i := range changes {
		o := &changes[i].Object
		next.rev = max(next.rev, o.Modified)
		if changes[i].Delete {
			b.remove(o.Kind, o.ID)
		} else {
			b.put(*o)
		}
	}
	b.build()
	if len(b.refusals) > 0 {
		return nil, b.refusals[0]
	}
	return &next, nil
}

// Check reports what of one object would be refused whatever other objects there are: plugin configs, expressions, and
// what Ando does not run. The error is a *gateway.Refusal.
func (c *Compiler) Check(o gateway.Object) error {
	if err := c.check(o); err != nil {
		return refusal(err)
	}
	return nil
}

func (c *Compiler) check(o gateway.Object) error {
	switch o.Kind {
	case gateway.PluginMetadata:
		_, err := c.compileMetadata(o)
		return err
	case gateway.SSLs:
		return checkSSL(o)
	case gateway.Protos:
		return c.checkProto(o)
	case gateway.Upstreams, gateway.Secrets, gateway.GraphQLCostDecorations:
		return nil
	}
	d, err := readDocument(o.Value)
	if err != nil {
		return err
	}
	plugins, err := readPlugins(d.Plugins)
	if err != nil {
		return err
	}
	reader := pluginReader{compiler: c}
	switch o.Kind {
	case gateway.Consumers:
		_, _, err = reader.compileConsumer(o.Key(), plugins, nil)
		return err
	case gateway.Credentials:
		if _, _, err = reader.compileConsumer(o.Key(), plugins, nil); err != nil {
			return err
		}
		return c.checkAuthOnly(plugins)
	case gateway.StreamRoutes:
		reader.stream = true
		if _, err = reader.compile(o.Key(), plugins, nil); err != nil {
			return err
		}
		return checkProtocol(o.Value)
	}
	if _, err = reader.compile(o.Key(), plugins, nil); err != nil {
		return err
	}
	if _, _, err = c.compileConditions(o.Key(), d); err != nil {
		return err
	}
	_, err = c.compileScript(o.Key(), d)
	return err
}

func (c *Compiler) checkAuthOnly(plugins map[string]json.RawMessage) error {
	for name := range plugins {
		if p := c.Plugins[name]; p != nil && !p.Auth {
			return errors.New("only supports auth type plugins in consumer credential")
		}
	}
	return nil
}

// compileConditions compiles the predicates of a route other than method, host and path; nil is none.
func (compiler *Compiler) compileConditions(owner string, d *document) (*conditions, bodyUse, error) {
	c, use := new(conditions), bodyUse(0)
	var failed error
	if present(d.Vars) {
		vars, err := compileVars(d.Vars)
		if err != nil {
			failed = err
		} else if c.vars = vars.Match; vars.ReadsBody {
			use = bodyUseOf(d.Vars)
		}
	}
	if present(d.Expression) {
		var source string
		err := read("expression", d.Expression, &source)
		if err == nil {
			c.expression, err = expr.CEL(source)
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("failed to validate the 'expression': %w", err)
		}
	}
	remote, err := d.remoteAddrs()
	if err != nil && failed == nil {
		failed = err
	}
	c.remote = remote
	if c.filter, err = compiler.compileFilter(owner, d); err != nil && failed == nil {
		failed = err
	}
	if c.remote == nil && c.vars == nil && c.expression == nil && c.filter == nil {
		c = nil
	}
	return c, use, failed
}

// refusal makes an error one to show to the API's user.
func refusal(err error) *gateway.Refusal {
	var r *gateway.Refusal
	if errors.As(err, &r) && r.Message == err.Error() {
		return r
	}
	return &gateway.Refusal{Message: err.Error()}
}

var (
	_ gateway.Compiler   = (*Compiler)(nil)
	_ gateway.Recompiler = (*Compiler)(nil)
)
