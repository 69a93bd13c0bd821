// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/andogate/ando/admin/standalone"
)

// maxDocument bounds a whole configuration, in bytes.
const maxDocument = 256 << 20

// serveDocument answers for the configuration as one document.
func (h *Handler) serveDocument(w http.ResponseWriter, r *http.Request, segments []string) error {
	path := strings.Join(segments, "/")
	switch {
	case path == "configs/validate" && r.Method == http.MethodPost:
		return h.validateConfigs(w, r)
	case path != "configs":
		return errNoSuchPage
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return h.getDocument(w, r)
	case http.MethodPut:
		return h.putDocument(w, r)
	}
	return errNoSuchPage
}

func (h *Handler) getDocument(w http.ResponseWriter, r *http.Request) error {
	served := h.document.Served()
	setDocumentFields(w, served)
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	if !acceptsYAML(r) {
		writeJSON(w, http.StatusOK, served.JSON())
		return nil
	}
	body, err := served.YAML()
	if err != nil {
		return fmt.Errorf("encode the document: %w", err)
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
	return nil
}

func acceptsYAML(r *http.Request) bool {
	return slices.ContainsFunc(r.Header.Values("Accept"), func(accept string) bool {
		return strings.Contains(strings.ToLower(accept), "application/yaml")
	})
}

// setDocumentFields says which document it is, when there is one: clients take the newest of several gateways.
func setDocumentFields(w http.ResponseWriter, served *standalone.Served) {
	if served.Digest == "" {
		return
	}
	w.Header().Set("X-Last-Modified", strconv.FormatInt(served.Modified.Unix(), 10))
	w.Header().Set("X-Digest", served.Digest)
}

// putDocument replaces the document. A digest that is known already says that there is nothing to do.
func (h *Handler) putDocument(w http.ResponseWriter, r *http.Request) error {
	digest := r.Header.Get("X-Digest")
	if digest == "" {
		return badRequest("missing digest header")
	}
	if digest == h.document.Served().Digest {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	doc, err := readDocument(r)
	if err != nil {
		return err
	}
	dryRun, err := parseDryRun(r, r.URL.Query()["dry_run"])
	if err != nil {
		return err
	}
	if dryRun {
		if err := h.document.Try(r.Context(), h.gateway, h.checker, doc, digest, h.now()); err != nil {
			return err
		}
		w.Header().Set(dryRunField, "true")
		writeJSON(w, http.StatusAccepted, nil)
		return nil
	}
	served, err := h.document.Replace(r.Context(), h.gateway, h.checker, doc, digest, h.now())
	if err != nil {
		return err
	}
	if h.secrets != nil {
		h.secrets.Pass(r.Context())
	}
	setDocumentFields(w, served)
	writeJSON(w, http.StatusAccepted, nil)
	return nil
}

func readDocument(r *http.Request) (*standalone.Document, error) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxDocument+1))
	switch {
	case err != nil:
		return nil, badRequest("invalid request body: " + err.Error())
	case len(raw) == 0:
		return nil, badRequest("invalid request body: empty request body")
	case len(raw) > maxDocument:
		return nil, badRequest(fmt.Sprintf("invalid request body: the document is greater than the maximum size %d allowed", maxDocument))
	}
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if mediaType == "application/yaml" {
		doc, err := standalone.ParseYAML(raw)
		if errors.Is(err, standalone.ErrNotAnObject) {
			return nil, badRequest("invalid request body: invalid yaml request body")
		}
		return doc, badBody(err)
	}
	// The scanner's errors are those of APISIX's decoder.
	normal, err := normalize(raw)
	if err != nil {
		return nil, badBody(err)
	}
	doc, err := standalone.ParseJSON(normal)
	return doc, badBody(err)
}

// validateConfigs checks a whole document, item by item and each by itself: nothing is stored, and whether what is
// referred to exists is not looked at.
func (h *Handler) validateConfigs(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	if body == nil {
		return badRequest("invalid request body: empty request body")
	}
	doc, err := standalone.ParseJSON(body)
	if err != nil {
		return badBody(err)
	}
	_, findings := doc.Objects(h.checker)
	if len(findings) == 0 {
		writeJSON(w, http.StatusOK, []byte("{}\n"))
		return nil
	}
	found := []byte{'['}
	for i := range findings {
		if i > 0 {
			found = append(found, ',')
		}
		found = append(found, h.describeFinding(&findings[i])...)
	}
	var answer fields
	answer.set("error_msg", quote("Configuration validation failed"))
	answer.set("errors", append(found, ']'))
	writeJSON(w, http.StatusBadRequest, append(answer.text(), '\n'))
	return nil
}

func (h *Handler) describeFinding(f *standalone.Finding) []byte {
	var fs fields
	fs.set("resource_type", quote(f.Section))
	if f.Index >= 0 {
		fs.set("resource_id", quote(f.ID))
		fs.set("index", strconv.AppendInt(nil, int64(f.Index), 10))
	}
	fs.set("error", quote(h.problem(f.Err).Error()))
	return fs.text()
}

func badBody(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, standalone.ErrNotAnObject) {
		return badRequest("invalid request body: expected an object")
	}
	return badRequest("invalid request body: " + err.Error())
}
