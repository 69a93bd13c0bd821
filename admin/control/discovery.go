// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/andogate/ando/modules/upstream/discovery"
)

// discovered shows the services of a registry that upstreams use, with their nodes as they are known, in the form that
// APISIX has for the registry. The settings, which APISIX has beside them, are left out: there are passwords among them.
func (h *Handler) discovered(r *http.Request) (any, error) {
	kind := r.PathValue("type")
	if !slices.Contains(discovery.Types(), kind) {
		return nil, notFound("unknown discovery type %s", kind)
	}
	known := h.cfg.Discovery.Known(kind)
	for i := range known {
		if known[i].Nodes == nil {
			known[i].Nodes = []discovery.Node{}
		}
	}
	switch kind {
	case "nacos":
		return map[string]any{"services": byNamespace(known)}, nil
	case "kubernetes":
		clusters, err := byCluster(known)
		return map[string]any{"endpoints": clusters}, err
	}
	services := make(map[string][]discovery.Node, len(known))
	for _, s := range known {
		services[s.Name] = s.Nodes
	}
	return map[string]any{"services": services}, nil
}

// byNamespace has Nacos's services by namespace, group and name.
func byNamespace(known []discovery.Service) map[string]map[string]map[string][]discovery.Node {
	namespaces := make(map[string]map[string]map[string][]discovery.Node)
	for _, s := range known {
		namespace, group := s.Arg("namespace_id", discovery.NacosNamespace), s.Arg("group_name", discovery.NacosGroup)
		groups := namespaces[namespace]
		if groups == nil {
			groups = make(map[string]map[string][]discovery.Node)
			namespaces[namespace] = groups
		}
		if groups[group] == nil {
			groups[group] = make(map[string][]discovery.Node)
		}
		groups[group][s.Name] = s.Nodes
	}
	return namespaces
}

// kubeCluster has the services of one Kubernetes cluster; the only one has no id.
type kubeCluster struct {
	ID        string        `json:"id,omitempty"`
	Endpoints []kubeService `json:"endpoints"`
}

// kubeService has a service's nodes by port, as the text of a JSON object.
type kubeService struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// byCluster has Kubernetes' services by cluster, in order.
func byCluster(known []discovery.Service) ([]kubeCluster, error) {
	ports := make(map[string]map[string][]discovery.Node)
	var names []string
	for _, s := range known {
		colon := strings.LastIndexByte(s.Name, ':')
		if colon < 0 {
			continue
		}
		name, port := s.Name[:colon], s.Name[colon+1:]
		if ports[name] == nil {
			ports[name] = make(map[string][]discovery.Node)
			names = append(names, name)
		}
		ports[name][port] = s.Nodes
	}
	clusters := []kubeCluster{}
	for _, full := range names {
		value, err := json.Marshal(ports[full])
		if err != nil {
			return nil, err
		}
		id, name := "", full
		if strings.Count(full, "/") == 2 {
			id, name, _ = strings.Cut(full, "/")
		}
		if last := len(clusters) - 1; last < 0 || clusters[last].ID != id {
			clusters = append(clusters, kubeCluster{ID: id})
		}
		of := &clusters[len(clusters)-1]
		of.Endpoints = append(of.Endpoints, kubeService{name, string(value)})
	}
	return clusters, nil
}
