// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/admin/standalone"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/secret"
)

// Checker checks of one object what can be compiled without the others: plugin configs, expressions, scripts. Its error
// is a [gateway.Refusal] with the text to show.
type Checker interface {
	Check(o gateway.Object) error
}

// Secrets fetches what references to secrets stand for. Failures are its own business: what is written is refused by none.
type Secrets interface {
	// Prefetch asks for what a document refers to that is not known yet.
	Prefetch(ctx context.Context, doc json.RawMessage)
	// Pass asks for everything that is due in the gateway, and returns when it is served.
	Pass(ctx context.Context)
}

// Config says what an Admin API serves. Gateway, Checker and Plugins are required.
type Config struct {
	Gateway *gateway.Gateway
	Checker Checker
	Plugins gateway.Plugins

	// Keys are those that open the API. Without any, everybody is let in who can reach it and is not a browser sent by
	// another site: see Hosts and Origins.
	Keys []Key
	// KeyOptional lets requests in without a key although there are Keys: APISIX's `admin_key_required: false`.
	KeyOptional bool
	// Hosts are the names, without port, that the API is addressed by when no key is asked for, besides localhost and
	// loopback addresses. "*" is any.
	Hosts []string
	// Origins are the origins, such as "https://ui.example.com", from which a browser may use the API when no key is
	// asked for, besides the API's own.
	Origins []string
	// NoCORS leaves out the fields that let pages of any origin use the API with a key: APISIX's
	// `enable_admin_cors: false`. When no key is asked for they are only sent to Origins.
	NoCORS bool

	// Standalone, when set, is the document that the gateway serves. The API then answers for the document as a whole,
	// and not for single resources: what APISIX calls API-driven standalone.
	Standalone *standalone.State

	// Keyring encrypts the secrets in what is written; nil keeps them as they are. The compiler of the gateway's tables
	// needs the same one.
	Keyring *secret.Keyring

	// Secrets asks for the secrets that objects refer to; nil leaves that to others.
	Secrets Secrets

	// Settle, when set, is called after each write of a route or a service, with the object or, after a delete, without
	// one. It waits for what the write means for Caddy's certificates, and what it returns is the field X-Ando-Certificates
	// of the answer; empty is none.
	Settle func(ctx context.Context, o gateway.Object) string

	// Stream says that stream routes are served: APISIX's `proxy_mode` with stream in it.
	Stream bool
	// StreamPlugins are those that stream routes may use; nil is every registered one.
	StreamPlugins gateway.Plugins
	// Server is the Server field of the answers, from which clients read APISIX's version; empty is
	// [gateway.CompatibleVersion].
	Server string
	// Log returns the logger of the newest Caddy config; nil logs nothing.
	Log func() *zap.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Handler is the Admin API. It is safe for concurrent use.
type Handler struct {
	gateway *gateway.Gateway
	checker Checker
	plugins gateway.Plugins
	// streamPlugins are those of stream routes.
	streamPlugins gateway.Plugins

	keys    []hashedKey
	keyring *secret.Keyring
	// open says that no key is asked for.
	open    bool
	cors    bool
	hosts   map[string]bool
	origins map[string]bool
	// document is nil when resources are written one by one.
	document *standalone.State
	settle   func(ctx context.Context, o gateway.Object) string
	secrets  Secrets
	stream   bool
	server   string
	log      func() *zap.Logger
	now      func() time.Time
}

// New returns the Admin API over cfg.Gateway.
func New(cfg Config) (*Handler, error) {
	if cfg.Gateway == nil || cfg.Checker == nil || cfg.Plugins == nil {
		return nil, errors.New("admin: Gateway, Checker and Plugins are required")
	}
	keys, err := hashKeys(cfg.Keys)
	if err != nil {
		return nil, err
	}
	h := &Handler{
		gateway: cfg.Gateway, checker: cfg.Checker, plugins: cfg.Plugins,
		keyring: cfg.Keyring, keys: keys, open: len(keys) == 0 || cfg.KeyOptional,
		hosts: lowerSet(cfg.Hosts), origins: lowerSet(cfg.Origins),
		document: cfg.Standalone, settle: cfg.Settle, secrets: cfg.Secrets, stream: cfg.Stream, server: cfg.Server, log: cfg.Log, now: cfg.Now,
	}
	if h.streamPlugins = cfg.StreamPlugins; h.streamPlugins == nil {
		h.streamPlugins = gateway.RegisteredStreamPlugins()
	}
	h.cors = !cfg.NoCORS
	if h.server == "" {
		h.server = "APISIX/" + gateway.CompatibleVersion
	}
	if h.log == nil {
		h.log = func() *zap.Logger { return zap.NewNop() }
	}
	if h.now == nil {
		h.now = time.Now
	}
	for _, key := range cfg.Keys {
		if slices.Contains(wellKnownKeys, key.Key) {
			h.log().Warn("admin key is one that everybody knows from APISIX's documentation", zap.String("name", key.Name))
		}
	}
	return h, nil
}

// wellKnownKeys are the keys that APISIX came with for years.
var wellKnownKeys = []string{"edd1c9f034335f136f87ad84b625c8f1", "4054f7cf07e344346cd3f287985e76a2"}

func lowerSet(texts []string) map[string]bool {
	set := make(map[string]bool, len(texts))
	for _, text := range texts {
		set[strings.ToLower(text)] = true
	}
	return set
}
