// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// Verdict is what a Rewriter or Accessor decides.
type Verdict uint8

const (
	// Continue goes on with the next hook.
	Continue Verdict = iota
	// Exit ends the request with what is in the exchange's Response. Return the result of [Exchange.Exit].
	Exit
	// Wait says that the hook has to wait before it can decide: it is called a second time, where it may. What it found
	// out the first time it keeps in [Exchange.State]. Only where a hook may not wait anyway is this a detour; one that
	// waits for nearly every request is better off with a [Blocker].
	Wait
)

// The hooks of a compiled plugin config. It implements those it needs; a chain finds out once, when it is compiled. They
// run in this order, each for global rules first and then for the route: Rewrite, Access, BeforeProxy, FilterHeader,
// FilterBody for every chunk, Log. After an Exit the last three still run. An [Encoder] stands beside them.
//
// A hook runs on the goroutine that owns the exchange, and never two of one exchange at once. It must not keep the
// exchange, nor a string or slice obtained from it: both are used again for the next request. Unless its Plugin says
// Blocking, or its config is a Blocker that does, it must not wait for anything; a Rewriter or Accessor that has to after
// all returns Wait first.
type (
	// Rewriter runs first; auth plugins attach the consumer here.
	Rewriter interface{ Rewrite(x *Exchange) Verdict }
	// Accessor runs once the consumer is known and consumer plugins have joined the chain.
	Accessor interface{ Access(x *Exchange) Verdict }
	// BeforeProxy runs when a node has been picked, before each attempt to send to it.
	BeforeProxy interface{ BeforeProxy(x *Exchange) }
	// HeaderFilter sees and changes the head of the response, whoever made it. It may change the status too.
	HeaderFilter interface{ FilterHeader(x *Exchange) }
	// BodyFilter sees the body of the response in chunks, as they come, and returns what is sent in the place of each.
	// The last call has last set, maybe with an empty chunk. The chunk is not the filter's to change or keep; what is
	// returned is used before the next call and not changed. A filter that changes the length calls
	// [Response.ClearBodyFields] in its FilterHeader; one that cannot go on calls [Exchange.Break].
	BodyFilter interface {
		FilterBody(x *Exchange, chunk []byte, last bool) []byte
	}
	// ResponseReader is for configs whose FilterHeader has to know more than the head. ReadsResponse is asked when the head
	// of a node's response has come. When it returns more than 0, FilterHeader runs once all of the body, up to that many
	// bytes, is in Response.Body and the trailers are in Response.Trailer; it may change either, and the response goes on
	// to the body filters in one piece. A longer body, or one without its end, is answered 502. ReadsResponse does not
	// change the exchange and does not wait.
	ResponseReader interface{ ReadsResponse(x *Exchange) int64 }
	// Logger runs when the response has been sent or the client has gone.
	Logger interface{ Log(x *Exchange) }
	// BodyReader is for configs that need the whole request body. Before the config's Access (its Rewrite, when it has
	// no Access) the body is read up to ReadsBody bytes, and [Exchange.Body] gives it; a longer one gives
	// ErrBodyTooLarge. 0 means that this config does not need it.
	BodyReader interface{ ReadsBody() int64 }
	// BodyDecider is for a BodyReader that can tell from the head that it will not look at the body, such as that of a
	// request it is going to refuse. When NeedsBody returns false the hook runs without it, and must not ask for it.
	// NeedsBody may be called more than once; it does not change the exchange and does not wait.
	BodyDecider interface{ NeedsBody(x *Exchange) bool }
	// Blocker is for a plugin of which only some configs wait. Blocks is asked once, when the chain is compiled, and decides
	// in the place of Plugin.Blocking.
	Blocker interface{ Blocks() bool }
)

// Predicate is a compiled condition over a request. It does not change the exchange and does not wait.
type Predicate func(x *Exchange) bool

// Env is what a plugin gets when one of its configs is compiled.
type Env struct {
	// Owner is the key of the object that carries the config, such as "/apisix/services/1".
	Owner string
	// Log returns the logger of the newest Caddy config. Do not keep what it returns: a reload closes it.
	Log func() *zap.Logger
	// Protos finds what was compiled of proto objects; nil knows none. Configs ask Proto.
	Protos func(id string) any
	// Upstreams compiles an upstream that stands in the config, with what it refers to: names, services, certificates. When
	// one of these changes the config is compiled anew. key and prior are upstream.Compile's. nil, as where a config is only
	// checked, has nothing to refer to. It may be called until New returns.
	Upstreams func(key string, config json.RawMessage, prior *Upstream) (*Upstream, error)
}

// Proto returns what was compiled of a proto object that the config names, a *protos.Files. It is nil when the object does
// not exist or cannot be used, and nil for all of them when the config is only checked. When the object changes the config
// is compiled anew. It may be called until New returns.
func (e Env) Proto(id string) any {
	if e.Protos == nil {
		return nil
	}
	return e.Protos(id)
}

// Plugin describes one plugin to the gateway, the Admin API and the docs. It is registered once, at init, and never
// changed.
type Plugin struct {
	// Name is APISIX's name, such as "key-auth".
	Name string
	// Priority orders the plugins of a chain, highest first. APISIX's numbers: data-plane.md section 12.
	Priority int
	// Version is what the Admin API reports; APISIX's plugins say 0.1.
	Version float64
	// Auth marks plugins that attach a consumer. In a consumer or credential their config is a credential.
	Auth bool
	// Blocking says that Rewrite and Access may wait for something; an event loop runs them on a goroutine. No other hook
	// may wait. A config that is a [Blocker] answers for itself.
	Blocking bool
	// PreferRoute skips the global rule's instance on routes that carry the plugin themselves.
	PreferRoute bool
	// GlobalScope marks plugins that need no route config; they are listed, not executed in chains.
	GlobalScope bool

	// Stream says that the plugin is one of stream routes: of its hooks Rewrite, Access and Log run, once for each
	// connection. It is set by RegisterStreamPlugin.
	Stream bool

	// Schema, ConsumerSchema and MetadataSchema are JSON Schemas (draft 7 with APISIX's `encrypt_fields`). Schema is
	// required; the others are nil where the plugin has no such config.
	Schema, ConsumerSchema, MetadataSchema json.RawMessage

	// FallbackSchema, where it is not nil, is for configs that leave what Schema asks for to the plugin's metadata: one that
	// satisfies it is accepted as long as the plugin has metadata. It may be compiled, and run, when that is gone again.
	FallbackSchema json.RawMessage

	// Refuse, where it is not nil, looks at a config as it was given before Schema does: for what APISIX refuses in other
	// words than its schema's.
	Refuse func(config json.RawMessage) error

	// New compiles a config that satisfies Schema and has its defaults filled in. The result implements hooks, is
	// shared by all exchanges of all routes that use this config, and is immutable or safe for concurrent use. An error
	// is shown to the API's user as it is.
	New func(env Env, config json.RawMessage) (any, error)

	// NewCredential compiles a consumer's config of an Auth plugin. key is what Table.Credential finds it by, unique in
	// the gateway.
	NewCredential func(env Env, config json.RawMessage) (key string, credential any, err error)
	// UniqueField names the field that key comes from, for the text of a refusal. Empty for no uniqueness.
	UniqueField string

	// NewMetadata compiles the plugin's metadata; nil where it has none. Hooks get the result from Table.Metadata.
	NewMetadata func(env Env, config json.RawMessage) (any, error)

	// Endpoints are the APIs that the plugin offers to clients. No path leads to them but a route with public-api.
	Endpoints []Endpoint
}

// Endpoint is one API of a plugin, such as the login of wolf-rbac.
type Endpoint struct {
	// Methods are those it answers; a request with another finds no endpoint.
	Methods []string
	// Path is matched to the letter against the canonical path; one that ends in "/*" is the beginning of paths.
	Path string
	// Serve answers the request: it returns what [Exchange.Exit] does. It may wait.
	Serve func(x *Exchange) Verdict
}

// Plugins is a set of plugins by name.
type Plugins map[string]*Plugin

var registered, registeredStream = Plugins{}, Plugins{}

// RegisterPlugin makes a plugin known. It is called from init functions and panics when the name is taken or the
// description incomplete, since that is a programming error.
func RegisterPlugin(p *Plugin) { registered.add(p) }

// RegisterStreamPlugin is RegisterPlugin for one of stream routes. These are a set of their own: a plugin for both has a
// description in each, since APISIX has two schemas.
func RegisterStreamPlugin(p *Plugin) {
	p.Stream = true
	registeredStream.add(p)
}

func (ps Plugins) add(p *Plugin) {
	if p.Name == "" || p.New == nil || p.Schema == nil {
		panic(fmt.Sprintf("plugin %q: Name, New and Schema are required", p.Name))
	}
	if _, taken := ps[p.Name]; taken {
		panic(fmt.Sprintf("plugin %q is registered twice", p.Name))
	}
	ps[p.Name] = p
}

// RegisteredPlugins returns a new set with every plugin registered so far.
func RegisteredPlugins() Plugins { return maps.Clone(registered) }

// RegisteredStreamPlugins is RegisteredPlugins for those of stream routes.
func RegisteredStreamPlugins() Plugins { return maps.Clone(registeredStream) }

// Sorted returns the plugins with the highest priority first, then by name.
func (ps Plugins) Sorted() []*Plugin {
	return slices.SortedFunc(maps.Values(ps), func(a, b *Plugin) int {
		if a.Priority != b.Priority {
			return b.Priority - a.Priority
		}
		return strings.Compare(a.Name, b.Name)
	})
}
