// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// request is one request for a resource, read and checked as far as any resource's is.
type request struct {
	*http.Request
	target
	query url.Values
	// body is the document without white space; nil when there is none.
	body []byte
	// ttl is how long what is written lives; 0 is for ever.
	ttl time.Duration
	// dryRun says that a write is only to be tried.
	dryRun bool
	// certificates says where those for the written object's hosts stand; empty is nothing to say.
	certificates string
	// condition is what a write wants of the object as it is.
	condition condition
}

// methods are what a resource can be asked to do. Which kinds support what is in the table of resources.
var methods = map[string]func(*Handler, http.ResponseWriter, *request) error{
	http.MethodGet:    (*Handler).get,
	http.MethodPut:    (*Handler).put,
	http.MethodPost:   (*Handler).post,
	http.MethodPatch:  (*Handler).patch,
	http.MethodDelete: (*Handler).remove,
}

// ServeHTTP answers requests for paths below /apisix/admin; other paths are not found.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", h.server)
	if err := h.serve(w, r); err != nil {
		h.writeError(w, r, err)
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	if h.open {
		if err := h.checkSender(r); err != nil {
			return err
		}
	}
	if origin := h.allowedOrigin(r); origin != "" && allowOrigin(w, r, origin) {
		return nil
	}
	segments, ok := splitPath(r.URL)
	if !ok {
		return errNoSuchPage
	}
	if len(segments) == 0 {
		return ping(w, r)
	}
	if err := h.authorize(r); err != nil {
		return err
	}
	if h.document != nil {
		return h.serveDocument(w, r, segments)
	}
	if serve := fixedPath(r.Method, segments); serve != nil {
		return serve(h, w, r)
	}
	method := methods[r.Method]
	if method == nil {
		return errNoSuchPage
	}
	return h.serveResource(w, r, segments, method)
}

// ping answers HEAD without a key; clients read the Server field from it.
func ping(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodHead {
		return errNoSuchPage
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// serveResource checks what a request for any resource must get past, in the order of the contract.
func (h *Handler) serveResource(w http.ResponseWriter, r *http.Request, segments []string,
	method func(*Handler, http.ResponseWriter, *request) error,
) error {
	describe := descriptions[segments[0]]
	if describe != nil && r.Method != http.MethodGet {
		return refuse(http.StatusNotFound, "not found")
	}
	var t target
	if describe == nil {
		var err error
		if t, err = h.target(segments); err != nil {
			return err
		}
	}
	body, err := readBody(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	ttl, err := parseTTL(query)
	if err != nil {
		return err
	}
	dryRun, err := parseDryRun(r, query["dry_run"])
	if err != nil {
		return err
	}
	if dryRun {
		w.Header().Set(dryRunField, "true")
	}
	w.Header().Set("X-API-VERSION", "v3")
	if describe != nil {
		return describe(h, w, segments[1:], query)
	}
	if !t.supports(r.Method) {
		return refuse(http.StatusMethodNotAllowed, fmt.Sprintf("not supported `%s` method for %s", r.Method, t.noun))
	}
	if r.Method != http.MethodPatch {
		t.foldSub()
	}
	return method(h, w, &request{
		Request: r, target: t, query: query, body: body, ttl: ttl, dryRun: dryRun, condition: conditionOf(r.Header),
	})
}

// maxTTL is the longest lease of etcd, in seconds.
const maxTTL = 9e9

func parseTTL(query url.Values) (time.Duration, error) {
	if !query.Has("ttl") {
		return 0, nil
	}
	seconds, err := strconv.ParseFloat(query.Get("ttl"), 64)
	if err != nil || math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		return 0, badRequest("invalid argument ttl: should be a number")
	}
	if seconds <= 0 || seconds > maxTTL {
		return 0, badRequest(fmt.Sprintf("invalid argument ttl: should be greater than 0 and at most %d", int64(maxTTL)))
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// fixedPath returns what serves a path that is no resource's, or nil.
func fixedPath(method string, segments []string) func(*Handler, http.ResponseWriter, *http.Request) error {
	if len(segments) < 2 {
		return nil
	}
	switch [2]string(segments[:2]) {
	case [2]string{"plugins", "list"}:
		if len(segments) == 2 && method == http.MethodGet {
			return (*Handler).listPlugins
		}
	case [2]string{"plugins", "reload"}:
		if len(segments) == 2 {
			return (*Handler).reloadPlugins
		}
	case [2]string{"schema", "validate"}:
		if len(segments) == 3 && method == http.MethodPost {
			return func(h *Handler, w http.ResponseWriter, r *http.Request) error {
				return h.validateSchema(w, r, segments[2])
			}
		}
	case [2]string{"configs", "validate"}:
		if len(segments) == 2 && method == http.MethodPost {
			return (*Handler).validateConfigs
		}
	}
	return nil
}

var _ http.Handler = (*Handler)(nil)
