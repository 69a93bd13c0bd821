// SPDX-License-Identifier: Apache-2.0

// Package table is the frozen table: it compiles stored objects, and matches requests to the routes among them.
package table

import (
	"iter"
	"slices"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// Table is one compiled configuration. It is immutable; everything that did not change since the table before is shared
// with it, pointer for pointer.
type Table struct {
	compiler *Compiler
	rev      uint64

	// objects has every object by its place in gateway.Kinds and its id.
	objects [kindCount]*tree[entry]
	router  router
	// upstreams are the shared ones that compiled.
	upstreams hashMap[*gateway.Upstream]
	// checked are the upstreams with Health, by the key of the object that declares them.
	checked     *tree[gateway.Upstream]
	credentials []credentialIndex
	ssls        sslIndex
	hosts       hostIndex
	globals     *gateway.Chain
	streams     *streamIndex

	// What refers to what, by idPair of both ids: routes and stream routes to services, routes to plugin configs, consumers to
	// groups.
	serviceRoutes, serviceStreams, configRoutes, groupConsumers *tree[string]
	// referring has the objects with references to secrets that are kept elsewhere, by key.
	referring *tree[gateway.Object]
	// presenting has the objects whose upstreams present a certificate that an ssl object keeps, by key.
	presenting *tree[presenter]
	// discovering has the objects whose upstreams have nodes that are found out, by key.
	discovering *tree[discoverer]
	// borrowing has the objects with plugin configs that rest on other objects, by key.
	borrowing *tree[borrower]
	// forms and graphQLs count the routes whose conditions look at the body.
	forms, graphQLs int
}

// entry is an object with what was compiled of it.
type entry struct {
	gateway.Object
	// compiled is *rule, *streamRule, *service, *pluginSet (plugin configs, consumer groups, global rules), *gateway.Upstream,
	// *gateway.SSL, *protos.Files, *consumer, *credential or *metadata; nil for what is only stored, and for what cannot be served.
	compiled any
}

// metadata is what NewMetadata of a plugin returned.
type metadata struct{ value any }

const kindCount = 14

// kindIndex returns the place of a kind in gateway.Kinds.
func kindIndex(kind gateway.Kind) (int, bool) {
	i := slices.Index(gateway.Kinds, kind)
	return i, i >= 0
}

var (
	kindMetadata    = mustIndex(gateway.PluginMetadata)
	kindUpstreams   = mustIndex(gateway.Upstreams)
	kindConfigs     = mustIndex(gateway.PluginConfigs)
	kindServices    = mustIndex(gateway.Services)
	kindGroups      = mustIndex(gateway.ConsumerGroups)
	kindConsumers   = mustIndex(gateway.Consumers)
	kindCredentials = mustIndex(gateway.Credentials)
	kindSecrets     = mustIndex(gateway.Secrets)
	kindProtos      = mustIndex(gateway.Protos)
	kindSSLs        = mustIndex(gateway.SSLs)
	kindGlobals     = mustIndex(gateway.GlobalRules)
	kindRoutes      = mustIndex(gateway.Routes)
	kindStreams     = mustIndex(gateway.StreamRoutes)
)

func mustIndex(kind gateway.Kind) int {
	i, ok := kindIndex(kind)
	if !ok || len(gateway.Kinds) != kindCount {
		panic("package table does not know gateway.Kinds")
	}
	return i
}

// Match implements gateway.Table.
func (t *Table) Match(x *gateway.Exchange, trace gateway.Trace) *gateway.Route {
	x.Params, x.Volatile = x.Params[:0], false
	x.MatchedURI, x.MatchedHost = "", ""
	found := t.router.match(x, trace)
	if found == nil {
		return nil
	}
	return &found.route
}

// ReadsBody implements gateway.Table.
func (t *Table) ReadsBody(x *gateway.Exchange) int64 {
	if t.forms+t.graphQLs == 0 || x.Request.ContentLength == 0 {
		return 0
	}
	contentType, _, _ := strings.Cut(x.Request.Header.Get("Content-Type"), ";")
	contentType = strings.TrimSpace(contentType)
	isJSON := gateway.EqualFold(contentType, "application/json")
	switch {
	case t.forms > 0 && (isJSON || gateway.EqualFold(contentType, "application/x-www-form-urlencoded") ||
		gateway.EqualFold(contentType, "multipart/form-data")):
		return formLimit
	case t.graphQLs > 0 && x.Request.Method == "POST" &&
		(isJSON || gateway.EqualFold(contentType, "application/graphql")):
		return graphQLLimit
	}
	return 0
}

// Globals implements gateway.Table.
func (t *Table) Globals() *gateway.Chain { return t.globals }

// Credential implements gateway.Table.
func (t *Table) Credential(plugin, key string) *gateway.Credential {
	for i := range t.credentials {
		if t.credentials[i].plugin == plugin {
			return t.credentials[i].find(key)
		}
	}
	return nil
}

// Consumer implements gateway.Table.
func (t *Table) Consumer(name string) *gateway.Consumer {
	if c, ok := compiled[*consumer](t, kindConsumers, name); ok {
		return c.consumer
	}
	return nil
}

// Upstream implements gateway.Table.
func (t *Table) Upstream(id string) *gateway.Upstream {
	if u := t.upstreams.get(id); u != nil {
		return *u
	}
	return nil
}

// Checked implements gateway.CheckedTable.
func (t *Table) Checked() iter.Seq[*gateway.Upstream] {
	return func(yield func(*gateway.Upstream) bool) { t.checked.each(yield) }
}

// ChecksAsIn implements gateway.CheckedTable.
func (t *Table) ChecksAsIn(other gateway.Table) bool {
	o, ok := other.(*Table)
	return ok && o.checked == t.checked
}

// Metadata implements gateway.Table.
func (t *Table) Metadata(plugin string) any {
	if m, ok := compiled[*metadata](t, kindMetadata, plugin); ok {
		return m.value
	}
	return nil
}

// compiled returns what was compiled of an object. ok is false when there is no such object, or it cannot be served.
func compiled[T any](t *Table, kind int, id string) (value T, ok bool) {
	if e := t.objects[kind].get(id); e != nil {
		value, ok = e.compiled.(T)
	}
	return value, ok
}

// Object implements gateway.Table.
func (t *Table) Object(kind gateway.Kind, id string) (gateway.Object, bool) {
	i, ok := kindIndex(kind)
	if !ok {
		return gateway.Object{}, false
	}
	e := t.objects[i].get(id)
	if e == nil {
		return gateway.Object{}, false
	}
	return e.Object, true
}

// Objects implements gateway.Table.
func (t *Table) Objects(kind gateway.Kind) iter.Seq[gateway.Object] {
	return func(yield func(gateway.Object) bool) {
		if i, ok := kindIndex(kind); ok {
			t.objects[i].each(func(e *entry) bool { return yield(e.Object) })
		}
	}
}

// Revision implements gateway.Table.
func (t *Table) Revision() uint64 { return t.rev }

// idPair joins two ids so that those with the same first one are next to each other. No id contains the separator.
func idPair(first, second string) string { return first + "\x00" + second }

var _ gateway.CheckedTable = (*Table)(nil)
