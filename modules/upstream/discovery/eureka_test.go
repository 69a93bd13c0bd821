// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakeEureka answers as Eureka's REST API does: JSON only to those who ask for it, applications by their names in capitals.
type fakeEureka struct {
	*httptest.Server
	mu   sync.Mutex
	apps map[string]string
	down bool
	// asked gets the path of each request that there is room for.
	asked chan string
}

func newFakeEureka(t *testing.T) *fakeEureka {
	t.Helper()
	e := &fakeEureka{apps: map[string]string{}, asked: make(chan string, 1)}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *fakeEureka) set(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
	// What was asked before says nothing about what is now.
	select {
	case <-e.asked:
	default:
	}
}

func (e *fakeEureka) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case e.asked <- r.URL.EscapedPath():
	default:
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/eureka/apps/")
	user, password, _ := r.BasicAuth()
	app := e.apps[name]
	switch {
	case e.down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case user != "u" || password != "p":
		w.WriteHeader(http.StatusUnauthorized)
	case !ok || app == "" || r.Method != http.MethodGet:
		w.WriteHeader(http.StatusNotFound)
	case r.Header.Get("Accept") != "application/json":
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprint(w, "<application/>")
	default:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"application":{"name":%q,"instance":%s}}`, name, app)
	}
}

func eurekaInstance(addr, status, more string) string {
	return fmt.Sprintf(`{"instanceId":"i:%[1]s","hostName":"h","app":"WEB","ipAddr":%[1]q,"status":%[2]q,"port":{"$":8080,"@enabled":"true"},
		"securePort":{"$":443,"@enabled":"false"},"countryId":1,"lastUpdatedTimestamp":"1"%[3]s}`, addr, status, more)
}

func TestEureka(t *testing.T) {
	e := newFakeEureka(t)
	e.apps["WEB"] = "[" + strings.Join([]string{
		eurekaInstance("10.0.0.1", "UP", `,"overriddenstatus":"UNKNOWN","metadata":{"weight":"7"}`),
		eurekaInstance("10.0.0.2", "UP", `,"overriddenstatus":"OUT_OF_SERVICE","metadata":{"a":"b"}`),
		eurekaInstance("10.0.0.3", "DOWN", `,"overriddenStatus":"UP","metadata":{"weight":0}`),
		eurekaInstance("10.0.0.4", "STARTING", ``),
		eurekaInstance("host.name", "UP", ``),
		`{"ipAddr":"10.0.0.5","status":"UP","port":{"$":80,"@enabled":"true"},"securePort":{"$":"8443","@enabled":true}}`,
		`{"ipAddr":"10.0.0.6","status":"UP","port":{"$":80,"@enabled":"false"},"securePort":{"$":443,"@enabled":"false"}}`,
	}, ",") + "]"
	q, none := Query{Type: "eureka", Name: "WEB"}, Query{Type: "eureka", Name: "web"}
	settings := fmt.Sprintf(`{"eureka":{"host":["http://127.0.0.1:1",%q],"prefix":"/eureka/","fetch_interval":0.001}}`,
		strings.Replace(e.URL, "//", "//u:p@", 1))
	p := pooled(t, settings, q, none)
	nodes := untilHosts(t, p, q, "10.0.0.1", "10.0.0.3", "10.0.0.5")
	if want := []Node{{Host: "10.0.0.1", Port: 8080, Weight: 7}, {Host: "10.0.0.3", Port: 8080}, {Host: "10.0.0.5", Port: 8443, Weight: 100}}; !slices.Equal(nodes, want) {
		t.Errorf("got %+v, want %+v", nodes, want)
	}
	untilHosts(t, p, none)

	e.set(func() { e.down = true })
	wait(t, e.asked)
	wait(t, e.asked)
	untilHosts(t, p, q, "10.0.0.1", "10.0.0.3", "10.0.0.5")
	// Some servers write one instance without brackets.
	e.set(func() { e.down, e.apps["WEB"] = false, eurekaInstance("10.0.0.9", "UP", "") })
	untilHosts(t, p, q, "10.0.0.9")
	e.set(func() { delete(e.apps, "WEB") })
	untilHosts(t, p, q)
}
