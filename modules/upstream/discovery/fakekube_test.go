// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const kubeToken = "token-of.an_account"

// fakeKube answers as a Kubernetes API server does for two kinds of objects: lists in pages of one version, watches from a
// version on as long as that is not compacted, selectors, bearer tokens, TLS.
type fakeKube struct {
	*httptest.Server
	mu      sync.Mutex
	version int
	// objects are by kind and NAMESPACE/NAME.
	objects map[string]map[string]map[string]any
	history []kubeEvent
	// compacted is the last version that is forgotten; gone says how a watch from there is answered.
	compacted int
	gone      goneAnswer
	changed   chan struct{}
	// ended tells watches how to end: those that began before it.
	ended     ending
	era       int
	down      bool
	listed    int
	following int
	// watched gets a value when a watch has nothing more to tell, left when a client has ended one, refused when down.
	watched, left, refused chan struct{}
}

type kubeEvent struct {
	version      int
	kind         string
	Type         string `json:"type"`
	Object       any    `json:"object"`
	onlyBookmark bool
}

type (
	ending     int
	goneAnswer int
)

const (
	cleanly ending = iota
	withError
	broken

	goneEvent goneAnswer = iota
	goneStatus
)

func newFakeKube(t *testing.T) *fakeKube {
	t.Helper()
	k := &fakeKube{
		version: 100, objects: map[string]map[string]map[string]any{"endpoints": {}, "endpointslices": {}}, changed: make(chan struct{}),
		watched: make(chan struct{}, 1), left: make(chan struct{}, 1), refused: make(chan struct{}, 1),
	}
	k.Server = httptest.NewUnstartedServer(k)
	k.EnableHTTP2 = true
	k.StartTLS()
	t.Cleanup(func() {
		k.end(broken)
		k.Close()
	})
	return k
}

// settings are a cluster's for this server, outside of it.
func (k *fakeKube) settings() string {
	host, port, _ := net.SplitHostPort(k.Listener.Addr().String())
	return fmt.Sprintf(`"client":{"token":%q,"ssl_verify":false},"service":{"schema":"https","host":%q,"port":%q}`, kubeToken, host, port)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// set makes a change that watches look at.
func (k *fakeKube) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
	close(k.changed)
	k.changed = make(chan struct{})
	for _, c := range []chan struct{}{k.watched, k.refused} {
		select {
		case <-c:
		default:
		}
	}
}

func (k *fakeKube) put(kind, namespace, text string) {
	k.set(func() {
		var object map[string]any
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			panic(err)
		}
		k.version++
		metadata := object["metadata"].(map[string]any)
		metadata["namespace"], metadata["resourceVersion"] = namespace, strconv.Itoa(k.version)
		key, what := namespace+"/"+metadata["name"].(string), "ADDED"
		if k.objects[kind][key] != nil {
			what = "MODIFIED"
		}
		k.objects[kind][key] = object
		k.history = append(k.history, kubeEvent{version: k.version, kind: kind, Type: what, Object: object})
	})
}

func (k *fakeKube) remove(kind, key string) {
	k.set(func() {
		k.version++
		object := k.objects[kind][key]
		delete(k.objects[kind], key)
		object["metadata"].(map[string]any)["resourceVersion"] = strconv.Itoa(k.version)
		k.history = append(k.history, kubeEvent{version: k.version, kind: kind, Type: "DELETED", Object: object})
	})
}

func (k *fakeKube) bookmark() {
	k.set(func() {
		k.version++
		object := map[string]any{"metadata": map[string]any{"resourceVersion": strconv.Itoa(k.version)}}
		k.history = append(k.history, kubeEvent{version: k.version, Type: "BOOKMARK", Object: object, onlyBookmark: true})
	})
}

// compact forgets all that has happened.
func (k *fakeKube) compact() { k.set(func() { k.compacted, k.history = k.version, nil }) }

// end ends the watches that there are.
func (k *fakeKube) end(how ending) { k.set(func() { k.ended, k.era = how, k.era+1 }) }

func (k *fakeKube) setDown(down bool) { k.set(func() { k.down = down }) }

func (k *fakeKube) lists() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.listed
}

func (k *fakeKube) watches() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.following
}

func status(w http.ResponseWriter, code int) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(statusObject(code))
}

func statusObject(code int) any {
	return map[string]any{"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure", "code": code, "message": http.StatusText(code)}
}

func (k *fakeKube) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.down {
		signal(k.refused)
		status(w, http.StatusServiceUnavailable)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+kubeToken {
		status(w, http.StatusUnauthorized)
		return
	}
	kind, rest := "endpoints", strings.TrimPrefix(r.URL.Path, "/api/v1/")
	if rest == r.URL.Path {
		kind, rest = "endpointslices", strings.TrimPrefix(r.URL.Path, "/apis/discovery.k8s.io/v1/")
	}
	namespace := ""
	if within, ok := strings.CutPrefix(rest, "namespaces/"); ok {
		namespace, rest, _ = strings.Cut(within, "/")
	}
	if rest != kind || r.Method != http.MethodGet {
		status(w, http.StatusNotFound)
		return
	}
	if r.URL.Query().Get("watch") == "true" {
		k.watch(w, r, kind, namespace)
		return
	}
	k.list(w, r, kind, namespace)
}

// selects understands name=value of labels, and metadata.namespace!=value of fields.
func selects(r *http.Request, object any, namespace string) bool {
	metadata := object.(map[string]any)["metadata"].(map[string]any)
	own, _ := metadata["namespace"].(string)
	if namespace != "" && own != namespace {
		return false
	}
	if name, value, ok := strings.Cut(r.URL.Query().Get("labelSelector"), "="); ok {
		labels, _ := metadata["labels"].(map[string]any)
		if labels[name] != value {
			return false
		}
	}
	excluded, ok := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.namespace!=")
	return !ok || own != excluded
}

func (k *fakeKube) list(w http.ResponseWriter, r *http.Request, kind, namespace string) {
	k.listed++
	version, from := k.version, 0
	if text := r.URL.Query().Get("continue"); text != "" {
		if _, err := fmt.Sscanf(text, "%d-%d", &version, &from); err != nil || version <= k.compacted {
			status(w, http.StatusGone)
			return
		}
	}
	var names []string
	for name, object := range k.objects[kind] {
		if selects(r, object, namespace) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	metadata := map[string]any{"resourceVersion": strconv.Itoa(version)}
	names = names[from:]
	if limit, _ := strconv.Atoi(r.URL.Query().Get("limit")); limit > 0 && len(names) > limit {
		names = names[:limit]
		metadata["continue"] = fmt.Sprintf("%d-%d", version, from+limit)
	}
	items := []any{}
	for _, name := range names {
		items = append(items, k.objects[kind][name])
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "List", "metadata": metadata, "items": items})
}

func (k *fakeKube) watch(w http.ResponseWriter, r *http.Request, kind, namespace string) {
	version, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if lasts, terr := strconv.Atoi(r.URL.Query().Get("timeoutSeconds")); err != nil || terr != nil || lasts < 1 {
		status(w, http.StatusBadRequest)
		return
	}
	if version < k.compacted && k.gone == goneStatus {
		status(w, http.StatusGone)
		return
	}
	k.following++
	defer func() { k.following-- }()
	events, era := json.NewEncoder(w), k.era
	if version < k.compacted {
		_ = events.Encode(kubeEvent{Type: "ERROR", Object: statusObject(http.StatusGone)})
		return
	}
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		for _, e := range k.history {
			if e.version > version && (e.onlyBookmark || e.kind == kind && selects(r, e.Object, namespace)) {
				_ = events.Encode(e)
			}
		}
		version = k.version
		w.(http.Flusher).Flush()
		if k.era != era {
			switch k.ended {
			case withError:
				_ = events.Encode(kubeEvent{Type: "ERROR", Object: statusObject(http.StatusGone)})
			case broken:
				panic(http.ErrAbortHandler)
			}
			return
		}
		changed := k.changed
		signal(k.watched)
		k.mu.Unlock()
		gone := false
		select {
		case <-changed:
		case <-r.Context().Done():
			gone = true
		}
		k.mu.Lock()
		if gone {
			signal(k.left)
			return
		}
	}
}
