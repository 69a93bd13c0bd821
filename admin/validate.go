// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/http"

	"github.com/andogate/ando/admin/schema"
)

// validateSchema checks a body against a kind's JSON schema and nothing else.
func (h *Handler) validateSchema(w http.ResponseWriter, r *http.Request, name string) error {
	kind := resources[name]
	var rules *schema.Schema
	if kind != nil {
		rules = schema.ForKind(kind.kind)
	}
	if rules == nil {
		return refuse(http.StatusNotFound, "Unsupported resource type: "+name)
	}
	body, err := readBody(r)
	if err != nil {
		return err
	}
	if body == nil {
		return badRequest("missing configurations")
	}
	value, err := schema.Decode(body)
	if err != nil {
		return badRequest(err.Error())
	}
	if err := rules.Validate(value); err != nil {
		return h.withErrors(badRequest(err.Error()), rules.Problems("", value))
	}
	writeJSON(w, http.StatusOK, nil)
	return nil
}
