// SPDX-License-Identifier: Apache-2.0

// Package control is what operators and probes ask a running gateway: APISIX's control API and its status API. Neither
// changes anything, and neither asks for a key.
package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/upstream/discovery"
	"github.com/andogate/ando/modules/upstream/health"
)

// Config says what a control API shows. Gateway and Plugins are required.
type Config struct {
	Gateway *gateway.Gateway
	Plugins gateway.Plugins
	// StreamPlugins are those of stream routes; nil is every registered one.
	StreamPlugins gateway.Plugins
	// Health has the checkers of the gateway's upstreams; nil has none.
	Health *health.Pool
	// Discovery has the nodes that registries tell of; nil has none.
	Discovery *discovery.Pool
	// AnyHost answers whatever name the API was called by. Otherwise it has to be localhost or an address: a page in a
	// browser on this machine could make any other name stand for it.
	AnyHost bool
	// Log returns the logger of the newest Caddy config; nil logs nothing.
	Log func() *zap.Logger
}

// Handler is the control API, below /v1. It is safe for concurrent use.
type Handler struct {
	cfg Config
	mux *http.ServeMux
}

// New returns the control API of a gateway.
func New(cfg Config) (*Handler, error) {
	if cfg.Gateway == nil || cfg.Plugins == nil {
		return nil, errors.New("control: Gateway and Plugins are required")
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop
	}
	h := &Handler{cfg: cfg, mux: http.NewServeMux()}
	h.handle("GET /v1/schema", h.schemas)
	h.handle("GET /v1/healthcheck", h.healthchecks)
	h.handle("GET /v1/healthcheck/{kind}", h.healthcheck)
	h.handle("GET /v1/healthcheck/{kind}/{id}", h.healthcheck)
	for noun, kind := range map[string]gateway.Kind{"route": gateway.Routes, "service": gateway.Services, "upstream": gateway.Upstreams} {
		h.handle("GET /v1/"+string(kind), h.list(kind))
		h.handle("GET /v1/"+noun+"/{id}", h.one(kind, noun))
	}
	h.handle("GET /v1/plugin_metadatas", h.metadatas)
	h.handle("GET /v1/plugin_metadata/{name}", h.metadata)
	h.handle("GET /v1/certificates", h.certificates)
	if cfg.Discovery != nil {
		h.handle("GET /v1/discovery/{type}/dump", h.discovered)
	}
	h.handle("POST /v1/gc", h.collect)
	h.handle("PUT /v1/plugins/reload", h.reloadPlugins)
	return h, nil
}

func (h *Handler) handle(pattern string, serve func(r *http.Request) (any, error)) {
	h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		answer, err := serve(r)
		if err == nil {
			err = write(w, r, http.StatusOK, answer)
		}
		if err == nil {
			return
		}
		refused := new(refusal)
		if !errors.As(err, &refused) {
			h.cfg.Log().Error("control request failed", zap.String("path", r.URL.Path), zap.Error(err))
			refused = &refusal{http.StatusInternalServerError, "internal error"}
		}
		_ = write(w, r, refused.status, map[string]string{"error_msg": refused.message})
	})
}

// ServeHTTP answers requests for paths below /v1; other paths are not found.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.cfg.AnyHost && !isLocalName(r.Host) {
		_ = write(w, r, http.StatusForbidden, map[string]string{"error_msg": "host not allowed: " + r.Host})
		return
	}
	if _, pattern := h.mux.Handler(r); pattern == "" {
		// Also for a method that a path does not have, as in APISIX.
		http.NotFound(w, r)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// isLocalName accepts what no DNS server decides about.
func isLocalName(host string) bool {
	name := host
	if bare, _, err := net.SplitHostPort(host); err == nil {
		name = bare
	}
	name = strings.TrimSuffix(strings.TrimPrefix(strings.ToLower(name), "["), "]")
	_, err := netip.ParseAddr(name)
	return err == nil || name == "localhost"
}

// refusal is an answer that is not a success.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

func notFound(format string, args ...any) error {
	return &refusal{http.StatusNotFound, fmt.Sprintf(format, args...)}
}

// page is an answer for people.
type page []byte

// text is an answer that is not JSON.
type text string

// write answers with a value: as it is, or as JSON. nil has no body.
func write(w http.ResponseWriter, r *http.Request, status int, answer any) error {
	contentType, body := "application/json", []byte(nil)
	switch answer := answer.(type) {
	case nil:
		contentType = "text/plain; charset=utf-8"
	case text:
		contentType, body = "text/plain; charset=utf-8", []byte(answer)
	case page:
		contentType, body = "text/html; charset=utf-8", answer
	default:
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(answer); err != nil {
			return fmt.Errorf("encode the answer: %w", err)
		}
		body = out.Bytes()
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		// An error here is the client's going away.
		_, _ = w.Write(body)
	}
	return nil
}

// collect frees what can be freed.
func (h *Handler) collect(*http.Request) (any, error) {
	debug.FreeOSMemory()
	return nil, nil
}

// reloadPlugins has nothing to do: the plugins are what the binary was built with.
func (h *Handler) reloadPlugins(*http.Request) (any, error) { return text("done"), nil }

var _ http.Handler = (*Handler)(nil)
