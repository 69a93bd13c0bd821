// SPDX-License-Identifier: Apache-2.0

package table

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/secret"
	"github.com/andogate/ando/modules/upstream"
	"github.com/andogate/ando/modules/upstream/discovery"
)

// service is a compiled service.
type service struct {
	pluginSet
	// chain is that of a route that adds no plugins.
	chain *gateway.Chain

	name       string
	hosts      []string
	upstream   *gateway.Upstream
	upstreamID string
	timeout    gateway.Timeout
	websocket  bool
	labels     map[string]string
	script     *script
}

func (b *builder) compileService(e, old *entry) error {
	s := new(service)
	e.compiled = s
	d, err := readDocument(e.Value)
	if err != nil {
		s.err = err
		return err
	}
	was := versionOf(e, d, old)
	var inline *gateway.Upstream
	if before, ok := priorOf[*service](old); ok {
		was.entry, inline = before.entry, before.upstream
	}
	s.pluginSet, err = b.compilePlugins(e, d, was)
	var uerr error
	s.upstream, s.upstreamID, uerr = b.compileTarget(e, d, was, inline)
	var serr error
	s.script, serr = b.t.compiler.compileScript(e.Key(), d)
	s.err = first(err, uerr, serr, s.readFields(d))
	if s.err == nil {
		s.chain = gateway.NewChain(s.entries)
	}
	return s.err
}

func (s *service) readFields(d *document) error {
	var err [5]error
	s.hosts, err[0] = d.hosts()
	s.timeout, err[1] = d.timeout()
	err[2] = read("enable_websocket", d.Websocket, &s.websocket)
	err[3] = read("name", d.Name, &s.name)
	err[4] = read("labels", d.Labels, &s.labels)
	return first(err[:]...)
}

// version is what an object was before: what did not change since is kept. The zero value is no version.
type version struct {
	doc *document
	// entry finds what a plugin's config was compiled to.
	entry func(*gateway.Plugin) (gateway.Entry, bool)
}

// versionOf reads the version before of e, whose document is d.
func versionOf(e *entry, d *document, old *entry) version {
	if old == nil || old.compiled == nil {
		return version{}
	}
	if bytes.Equal(old.Value, e.Value) {
		return version{doc: d}
	}
	before, err := readDocument(old.Value)
	if err != nil {
		return version{}
	}
	return version{doc: before}
}

// compilePlugins compiles the `plugins` of an object that is no consumer.
func (b *builder) compilePlugins(e *entry, d *document, was version) (pluginSet, error) {
	plugins, err := readPlugins(d.Plugins)
	if err != nil || len(plugins) == 0 {
		return pluginSet{err: err}, err
	}
	reader := &b.reader
	if e.Kind == gateway.StreamRoutes {
		reader = &b.streamReader
	}
	set, err := reader.compile(e.Key(), plugins, was.inherited())
	set.err = err
	return set, err
}

// inherited returns what can be kept of the version's plugins.
func (v version) inherited() *inherited {
	if v.doc == nil || v.entry == nil {
		return nil
	}
	configs, err := readPlugins(v.doc.Plugins)
	if err != nil || len(configs) == 0 {
		return nil
	}
	return &inherited{configs, v.entry}
}

// clientKey is where an upstream has the private key that it shows its nodes; it is stored encrypted.
var clientKey = secret.Path{"tls", "client_key"}

// compileTarget compiles where a route or service forwards to: an inline upstream, or the id of a shared one, which wins.
// before is the upstream of the version before, which may have been another object's.
func (b *builder) compileTarget(e *entry, d *document, was version, before *gateway.Upstream) (*gateway.Upstream, string, error) {
	if id := readID(d.UpstreamID); id != "" {
		return nil, id, nil
	}
	if !present(d.Upstream) {
		return nil, "", nil
	}
	if before != nil && before.Key != e.Key() {
		before = nil
	}
	if before != nil && was.doc != nil && bytes.Equal(was.doc.Upstream, d.Upstream) &&
		!restsOnOthers(d.Upstream) && !b.discovers(e.Key()) {
		return before, "", nil
	}
	compiled, err := b.compileNodes(e, d.Upstream, before)
	return compiled, "", err
}

// restsOnOthers reports whether an upstream's config may mean something else although its text is the same.
func restsOnOthers(config json.RawMessage) bool {
	return secret.MayRefer(config) || bytes.Contains(config, []byte(`"client_cert_id"`))
}

// compileNodes compiles the upstream's config that e, as it is stored, declares.
func (b *builder) compileNodes(e *entry, stored json.RawMessage, before *gateway.Upstream) (*gateway.Upstream, error) {
	c := b.t.compiler
	config, unknown := c.Secrets.Substitute(c.Keyring.DecryptFields(stored, clientKey))
	if len(unknown) > 0 {
		return &gateway.Upstream{Key: e.Key(), Fault: 503, FaultReason: unresolved(unknown)}, nil
	}
	scheme := ""
	if e.Kind == gateway.StreamRoutes {
		scheme = streamScheme
	}
	return upstream.Compile(e.Key(), config, before, b.surroundings(e.Key(), scheme, func() {}))
}

// streamScheme is that of a stream route's upstream which names none.
const streamScheme = "tcp"

// surroundings are what an upstream in the object with the key owner may refer to. What it asks for is noted, so that the
// object is compiled again when that changes; then noted is called.
func (b *builder) surroundings(owner, scheme string, noted func()) upstream.Surroundings {
	around := upstream.Surroundings{Scheme: scheme}
	kind, id, _ := gateway.ParseKey(owner)
	index, ok := kindIndex(kind)
	if !ok {
		return around
	}
	e := b.t.objects[index].get(id)
	if e == nil {
		return around
	}
	around.Certificate = func(id string) (*tls.Certificate, error) {
		b.present(&e.Object, id)
		noted()
		return b.clientCertificate(id)
	}
	if b.t.compiler.Discovery != nil {
		around.Discover = func(q discovery.Query) ([]discovery.Node, error) {
			nodes, err := b.discover(&e.Object, q)
			noted()
			return nodes, err
		}
	}
	return around
}

// compileUpstream compiles a shared upstream.
func (b *builder) compileUpstream(e, old *entry) error {
	before, _ := priorOf[*gateway.Upstream](old)
	compiled := before
	if before == nil || !bytes.Equal(old.Value, e.Value) || restsOnOthers(e.Value) || b.discovers(e.Key()) {
		var err error
		if compiled, err = b.compileNodes(e, e.Value, before); err != nil {
			// The id exists, so the answer is not that of a missing upstream.
			broken := &gateway.Upstream{Key: e.Key(), ID: e.ID, Fault: 503, FaultReason: err.Error()}
			b.t.upstreams = b.t.upstreams.with(e.ID, broken)
			return err
		}
	}
	e.compiled = compiled
	b.t.upstreams = b.t.upstreams.with(e.ID, compiled)
	return nil
}

// compileRoute compiles a route and enters it in the router. A route that cannot be served matches as far as it can be
// read, and answers 503. One whose paths or hosts cannot be read is left out: it would answer 503 for others.
func (b *builder) compileRoute(e, old *entry) error {
	d, err := readDocument(e.Value)
	if err != nil {
		return err
	}
	uris, err := d.uris()
	if err != nil || len(uris) == 0 {
		return first(err, fmt.Errorf("invalid configuration: property %q is required", "uri"))
	}
	hosts, err := d.hosts()
	if err != nil {
		return err
	}
	r := &rule{uris: uris, hosts: hosts, created: e.Created}
	r.route.ID = e.ID
	b.references(e, d, r)

	was := versionOf(e, d, old)
	before, _ := priorOf[*rule](old)
	var inline *gateway.Upstream
	if before != nil {
		was.entry, inline = before.route.Chain.Entry, before.route.Upstream
	}
	own, err := b.compilePlugins(e, d, was)
	ferr := r.readFields(d)
	var uerr, cerr, serr error
	r.route.Upstream, r.route.UpstreamID, uerr = b.compileTarget(e, d, was, inline)
	r.conditions, r.body, cerr = b.compileConditions(e.Key(), d)
	r.script, serr = b.t.compiler.compileScript(e.Key(), d)
	err = first(ferr, uerr, err, cerr, serr)
	r.inherit(d)
	if err != nil {
		r.fault(503, err.Error())
	}
	if r.conditions != nil && r.conditions.filter != nil {
		r.breaks()
	}
	if r.route.Fault == 0 {
		r.route.Chain = r.chain(own, before, was.doc != nil && bytes.Equal(was.doc.Plugins, d.Plugins))
	}
	e.compiled = r
	b.enterRule(r)
	return err
}

// references finds what the route is to be merged with and sets its fault when something is missing. They are entered so
// that the route is compiled again when they change.
func (b *builder) references(e *entry, d *document, r *rule) {
	if id := readID(d.ServiceID); id != "" {
		r.route.ServiceID = id
		b.t.serviceRoutes = b.t.serviceRoutes.with(idPair(id, e.ID), &e.ID)
		r.service, _ = compiled[*service](b.t, kindServices, id)
		if r.service == nil {
			r.fault(404, "service "+id+" does not exist")
		} else if r.service.err != nil {
			r.fault(503, "service "+id+": "+r.service.err.Error())
		}
	}
	if id := readID(d.PluginConfigID); id != "" {
		r.configID = id
		b.t.configRoutes = b.t.configRoutes.with(idPair(id, e.ID), &e.ID)
		r.config, _ = compiled[*pluginSet](b.t, kindConfigs, id)
		if r.config == nil {
			r.fault(503, "plugin config "+id+" does not exist")
		} else if r.config.err != nil {
			r.fault(503, "plugin config "+id+": "+r.config.err.Error())
		}
	}
}

// fault sets what is wrong with a route. A later one of a plugin config or the route itself wins over a missing service,
// since APISIX merges the service last.
func (r *rule) fault(status int, reason string) {
	r.route.Fault, r.route.FaultReason = status, reason
}

func (r *rule) readFields(d *document) error {
	var status, priority *int
	var methods []string
	var err [6]error
	methods, err[0] = readStrings("methods", d.Methods)
	err[1] = read("priority", d.Priority, &priority)
	err[2] = read("status", d.Status, &status)
	r.route.Timeout, err[3] = d.timeout()
	err[4] = read("name", d.Name, &r.route.Name)
	err[5] = read("labels", d.Labels, &r.route.Labels)
	r.methods = methodsOf(methods)
	r.off = status != nil && *status == 0
	if priority != nil {
		r.priority = *priority
	}
	return first(err[:]...)
}

// inherit fills in what the service says where the route is silent (data-plane.md section 5).
func (r *rule) inherit(d *document) {
	s := r.service
	if s == nil {
		_ = read("enable_websocket", d.Websocket, &r.route.Websocket)
		return
	}
	r.route.ServiceName = s.name
	if len(r.hosts) == 0 {
		r.hosts = s.hosts
	}
	if r.route.Upstream == nil && r.route.UpstreamID == "" {
		r.route.Upstream, r.route.UpstreamID = s.upstream, s.upstreamID
	}
	if r.route.Timeout == (gateway.Timeout{}) {
		r.route.Timeout = s.timeout
	}
	if r.route.Labels == nil {
		r.route.Labels = s.labels
	}
	r.route.Websocket = s.websocket
	_ = read("enable_websocket", d.Websocket, &r.route.Websocket)
}

// chain merges the route's own plugins with those of its plugin config and service. When nothing of it has changed since
// the rule before, its chain goes on; sameText says that the route's `plugins` are the same text.
func (r *rule) chain(own pluginSet, before *rule, sameText bool) *gateway.Chain {
	switch {
	case r.script != nil:
		return r.script.chain
	case r.service != nil && r.service.script != nil:
		return r.service.script.chain
	case len(own.entries)+len(own.disabled) == 0 && r.config == nil && r.service != nil:
		return r.service.chain
	case before != nil && before.route.Fault == 0 && before.script == nil && before.service == r.service && before.config == r.config &&
		sameText && !own.fresh:
		return before.route.Chain
	}
	merged := own.merge(r.config)
	if r.service != nil {
		merged = merged.merge(&r.service.pluginSet)
	}
	return gateway.NewChain(merged.entries)
}

// compileConditions compiles a route's predicates, or finds those of a route with the same text.
func (b *builder) compileConditions(owner string, d *document) (*conditions, bodyUse, error) {
	compiler := b.t.compiler
	if b.conditions == nil {
		return compiler.compileConditions(owner, d)
	}
	remote := either(d.RemoteAddr, d.RemoteAddrs)
	if len(d.Vars)+len(d.Expression)+len(remote)+len(d.FilterFunc) == 0 {
		return nil, 0, nil
	}
	text := string(d.Vars) + "\x00" + string(d.Expression) + "\x00" + string(remote) + "\x00" + string(d.FilterFunc)
	if c, ok := b.conditions[text]; ok {
		return c, 0, nil
	}
	c, use, err := compiler.compileConditions(owner, d)
	if err == nil && use == 0 {
		b.conditions[text] = c
	}
	return c, use, err
}

// enterRule makes a rule one that matches.
func (b *builder) enterRule(r *rule) {
	if r.off {
		return
	}
	b.t.router.add(r)
	b.t.hosts = b.t.hosts.counted(r.hosts, 1)
	b.countBody(r, 1)
}

// retireRule undoes enterRule and references.
func (b *builder) retireRule(r *rule) {
	if id := r.route.ServiceID; id != "" {
		b.t.serviceRoutes = b.t.serviceRoutes.without(idPair(id, r.route.ID))
	}
	if r.configID != "" {
		b.t.configRoutes = b.t.configRoutes.without(idPair(r.configID, r.route.ID))
	}
	if !r.off {
		b.t.router.remove(r)
		b.t.hosts = b.t.hosts.counted(r.hosts, -1)
		b.countBody(r, -1)
	}
}

func (b *builder) countBody(r *rule, n int) {
	if r.body&usesForm != 0 {
		b.t.forms += n
	}
	if r.body&usesGraphQL != 0 {
		b.t.graphQLs += n
	}
}

// priorOf returns what was compiled of the version before.
func priorOf[T any](old *entry) (value T, ok bool) {
	if old != nil {
		value, ok = old.compiled.(T)
	}
	return value, ok
}

// first returns the first error.
func first(errs ...error) error {
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}
