// SPDX-License-Identifier: Apache-2.0

package control

import (
	"net/http"
	"strings"
)

// Status returns the status API, for probes: /status answers as long as the process does, /status/ready when requests are
// served. missing lists what is not there yet for that, behind what of the objects Caddy's own config does not say yet, such
// as names to manage certificates for, and why: it changes no answer's status. Both are called for every request.
func Status(missing, behind func() []string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		_ = write(w, r, http.StatusOK, struct {
			Status string   `json:"status"`
			Behind []string `json:"config_behind,omitempty"`
		}{"ok", behind()})
	})
	mux.HandleFunc("GET /status/ready", func(w http.ResponseWriter, r *http.Request) {
		reasons := missing()
		if len(reasons) == 0 {
			_ = write(w, r, http.StatusOK, map[string]string{"status": "ok"})
			return
		}
		_ = write(w, r, http.StatusServiceUnavailable, struct {
			Status  string   `json:"status"`
			Error   string   `json:"error"`
			Reasons []string `json:"reasons"`
		}{"error", strings.Join(reasons, "; "), reasons})
	})
	return mux
}
