// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/upstream/health"
)

// checkedKinds are the kinds whose objects can ask for health checks.
var checkedKinds = []gateway.Kind{gateway.Routes, gateway.StreamRoutes, gateway.Services, gateway.Upstreams}

// checked is an object that asks for health checks.
type checked struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// Nodes is an empty object, as in APISIX, as long as no checker runs for it: its upstream cannot be served.
	Nodes any `json:"nodes"`
}

// checkedNode is a node as APISIX shows it, and what Ando adds.
type checkedNode struct {
	IP       string          `json:"ip"`
	Port     int             `json:"port"`
	Hostname string          `json:"hostname"`
	Status   string          `json:"status"`
	Counter  health.Counters `json:"counter"`
	// Reason is how the last failure that counted looked. The times are RFC 3339: when the node last turned healthy or
	// unhealthy, and when it is probed next.
	Reason    string `json:"reason,omitempty"`
	Since     string `json:"since,omitempty"`
	NextProbe string `json:"next_probe,omitempty"`
}

func (h *Handler) checkedNodes(key string) any {
	report, ok := h.cfg.Health.Report(key)
	if !ok {
		return struct{}{}
	}
	nodes := make([]checkedNode, len(report.Nodes))
	for i, n := range report.Nodes {
		nodes[i] = checkedNode{
			IP: n.Host, Port: n.Port, Hostname: n.Name, Status: n.Status.String(), Counter: n.Counters,
			Reason: n.Reason, Since: timeText(n.Since), NextProbe: timeText(n.Next),
		}
	}
	return nodes
}

// List is Nodes for the page.
func (c checked) List() []checkedNode {
	nodes, _ := c.Nodes.([]checkedNode)
	return nodes
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// newChecked returns false for objects that ask for no checks.
func (h *Handler) newChecked(o gateway.Object) (checked, bool) {
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
	c := checked{Name: o.Key(), Type: "http", Nodes: h.checkedNodes(o.Key())}
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
<tr><th>Name</th><th>Type</th><th>Node</th><th>Status</th><th>Success</th><th>HTTP failure</th><th>TCP failure</th><th>Timeout</th><th>Reason</th><th>Next probe</th></tr>
{{range $c := .}}{{range .List}}<tr><td>{{$c.Name}}</td><td>{{$c.Type}}</td><td>{{.Hostname}} {{.IP}}:{{.Port}}</td><td>{{.Status}}</td>
{{- with .Counter}}<td>{{.Success}}</td><td>{{.HTTPFailure}}</td><td>{{.TCPFailure}}</td><td>{{.TimeoutFailure}}</td>{{end -}}
<td>{{.Reason}}</td><td>{{.NextProbe}}</td></tr>
{{else}}<tr><td>{{.Name}}</td><td>{{.Type}}</td><td colspan="8"></td></tr>
{{end}}{{end}}</table>
</body>
</html>
`))

func (h *Handler) healthchecks(r *http.Request) (any, error) {
	all := []checked{}
	table := h.cfg.Gateway.Table()
	for _, kind := range checkedKinds {
		for o := range table.Objects(kind) {
			if c, ok := h.newChecked(o); ok {
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
	c, ok := h.newChecked(o)
	if !ok {
		return nil, notFound("no checker for %s[%s]", kind, id)
	}
	return c, nil
}
