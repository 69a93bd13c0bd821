// SPDX-License-Identifier: Apache-2.0

package control

import (
	"net/http"
	"slices"

	"github.com/andogate/ando/modules/upstream/discovery"
)

// discovered shows the services of a registry that upstreams use, with their nodes as they are known. The settings, which
// APISIX has beside them, are left out: there are passwords among them.
func (h *Handler) discovered(r *http.Request) (any, error) {
	kind := r.PathValue("type")
	if !slices.Contains(discovery.Types(), kind) {
		return nil, notFound("unknown discovery type %s", kind)
	}
	services := h.cfg.Discovery.Known(kind)
	for name, nodes := range services {
		if nodes == nil {
			services[name] = []discovery.Node{}
		}
	}
	return map[string]any{"services": services}, nil
}
