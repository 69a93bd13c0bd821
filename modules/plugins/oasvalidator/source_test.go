// SPDX-License-Identifier: Apache-2.0

package oasvalidator

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

// specs is a server of descriptions.
type specs struct {
	*httptest.Server
	asked  atomic.Int32
	header atomic.Pointer[http.Header]
	// answer is what it says.
	answer func(w http.ResponseWriter)
}

func newSpecs(t *testing.T, answer func(w http.ResponseWriter)) *specs {
	t.Helper()
	s := &specs{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		header := r.Header.Clone()
		s.header.Store(&header)
		s.answer(w)
	}))
	t.Cleanup(s.Close)
	return s
}

// only describes one path.
func only(path string) func(w http.ResponseWriter) {
	return func(w http.ResponseWriter) { fmt.Fprintf(w, `{"openapi":"3.0.0","paths":{%q:{"get":{}}}}`, path) }
}

// TestFetched: a description is fetched with the first request that needs it, once, and then used.
func TestFetched(t *testing.T) {
	wires := 0
	var server *specs
	config := func(path string) string {
		server = newSpecs(t, only("/known"))
		return fmt.Sprintf(`{"oas-validator":{"spec_url":"%s%s","spec_url_request_headers":{"Authorization":"Bearer t"}}}`, server.URL, path)
	}
	plugintest.OnEach(t, config("/api.json"), func(s *plugintest.Site) {
		wires++
		s.Want(s.Do("GET", "/known", ""), 200, "node", true)
		s.Want(s.Do("GET", "/unknown", ""), 400, "{\"message\":\"failed to validate request. \"}\n", false)
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				res, err := http.Get(s.URL + "/unknown")
				if err != nil {
					s.Error(err)
					return
				}
				res.Body.Close()
			})
		}
		clients.Wait()
		if got := (*server.header.Load()).Get("Authorization"); got != "Bearer t" {
			s.Errorf("the server was sent Authorization %q", got)
		}
		if n := int(server.asked.Load()); n < 1 || n > wires {
			s.Errorf("the description was fetched %d times", n)
		}
	})
}

// TestNotFetched: without a description nothing passes, and not every request asks for it.
func TestNotFetched(t *testing.T) {
	large := make([]byte, maxSpec+1)
	for what, answer := range map[string]func(w http.ResponseWriter){
		"status":   func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"redirect": func(w http.ResponseWriter) { w.Header().Set("Location", "/"); w.WriteHeader(http.StatusFound) },
		"no spec":  func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") },
		"broken":   func(w http.ResponseWriter) { fmt.Fprint(w, `{"openapi":"3.0.0","paths":{"/{":{}}}`) },
		"large":    func(w http.ResponseWriter) { _, _ = w.Write(large) },
	} {
		t.Run(what, func(t *testing.T) {
			server := newSpecs(t, answer)
			wires := 0
			plugintest.OnEach(t, fmt.Sprintf(`{"oas-validator":{"spec_url":"%s/","reject_if_not_match":false}}`, server.URL), func(s *plugintest.Site) {
				wires++
				for range 3 {
					s.Want(s.Do("GET", "/known", ""), 500, "{\"message\":\"failed to parse openapi spec\"}\n", false)
				}
				if n := int(server.asked.Load()); n < 1 || n >= 3*wires {
					s.Errorf("the description was fetched %d times", n)
				}
			})
		})
	}
}

// TestRefresh: a description that is too old is used until the next one is there, and also when there is none.
func TestRefresh(t *testing.T) {
	release := make(chan func(w http.ResponseWriter))
	server := newSpecs(t, func(w http.ResponseWriter) { (<-release)(w) })
	source, err := sourceFor(server.URL, nil, false, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.get(time.Hour); err != errUnknown {
		t.Fatalf("got %v, want %v", err, errUnknown)
	}
	// Whoever waits waits for the same.
	first, second := source.begin(nil), source.begin(nil)
	if first != second {
		t.Error("two fetches are under way")
	}
	release <- only("/one")
	<-first
	knows := func(path string) bool {
		t.Helper()
		d, err := source.get(0)
		if err != nil {
			t.Fatal(err)
		}
		_, ok := d.match("GET", path)
		return ok
	}
	next := func(answer func(w http.ResponseWriter)) {
		source.mu.Lock()
		fetching := source.fetching
		source.mu.Unlock()
		if fetching == nil {
			t.Fatal("nothing is fetched")
		}
		release <- answer
		<-fetching
	}
	if !knows("/one") {
		t.Error("the description is not used")
	}
	next(only("/two"))
	if knows("/one") || !knows("/two") {
		t.Error("the new description is not used")
	}
	next(func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) })
	if !knows("/two") {
		t.Error("the old description is gone")
	}
	next(only("/three"))
	if !knows("/three") {
		t.Error("the description is not used")
	}
	next(only("/three"))
}

// TestTTL: the metadata says when a description is too old.
func TestTTL(t *testing.T) {
	for config, want := range map[string]time.Duration{`{"spec_url_ttl":60}`: time.Minute, `{"spec_url_ttl":9007199254740992}`: 100 * 365 * 24 * time.Hour} {
		if got, err := compileMetadata(gateway.Env{}, []byte(config)); err != nil || got != want {
			t.Errorf("%s: got %v (%v), want %v", config, got, err, want)
		}
	}
	for ttl, want := range map[time.Duration]bool{time.Minute: false, time.Second: true} {
		if got := (&outcome{at: time.Now().Add(-30 * time.Second)}).due(ttl); got != want {
			t.Errorf("after %v: due %v, want %v", ttl, got, want)
		}
	}
}
