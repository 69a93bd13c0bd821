// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// checkedKinds are the kinds whose objects can ask for health checks.
var checkedKinds = []gateway.Kind{gateway.Routes, gateway.StreamRoutes, gateway.Services, gateway.Upstreams}

// checked is an object that asks for health checks. Nodes is empty as long as no checker runs for it, and none does yet:
// the gateway does not check health.
type checked struct {
	Name  string   `json:"name"`
	Type  string   `json:"type"`
	Nodes struct{} `json:"nodes"`
}

// newChecked returns false for objects that ask for no checks.
func newChecked(o gateway.Object) (checked, bool) {
	if !bytes.Contains(o.Value, []byte("checks")) {
		return checked{}, false
	}
	value, err := schema.Decode(o.Value)
	if err != nil {
		return checked{}, false
	}
	checks, ok := upstreamOf(o.Kind, value)["checks"].(map[string]any)
	if !ok {
		return checked{}, false
	}
	c := checked{Name: o.Key(), Type: "http"}
	for _, half := range []string{"passive", "active"} {
		rules, _ := checks[half].(map[string]any)
		if name, ok := rules["type"].(string); ok {
			c.Type = name
		}
	}
	return c, true
}

var healthPage = template.Must(template.New("").Parse(`<!doctype html>
<html>
<head><title>Health checks</title></head>
<body>
<table>
<tr><th>Name</th><th>Type</th></tr>
{{range .}}<tr><td>{{.Name}}</td><td>{{.Type}}</td></tr>
{{end}}</table>
</body>
</html>
`))

func (h *Handler) healthchecks(r *http.Request) (any, error) {
	all := []checked{}
	table := h.cfg.Gateway.Table()
	for _, kind := range checkedKinds {
		for o := range table.Objects(kind) {
			if c, ok := newChecked(o); ok {
				all = append(all, c)
			}
		}
	}
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return all, nil
	}
	var out bytes.Buffer
	if err := healthPage.Execute(&out, all); err != nil {
		return nil, err
	}
	return page(out.Bytes()), nil
}

func (h *Handler) healthcheck(r *http.Request) (any, error) {
	kind, id := gateway.Kind(r.PathValue("kind")), r.PathValue("id")
	if !slices.Contains(checkedKinds, kind) {
		return nil, &refusal{http.StatusBadRequest, "invalid src type " + string(kind)}
	}
	if id == "" {
		return nil, notFound("missing src id for src type %s", kind)
	}
	o, ok := h.cfg.Gateway.Table().Object(kind, id)
	if !ok {
		return nil, notFound("%s[%s] not found", kind, id)
	}
	c, ok := newChecked(o)
	if !ok {
		return nil, notFound("no checker for %s[%s]", kind, id)
	}
	return c, nil
}
