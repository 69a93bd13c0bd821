// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/http"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// remove deletes an object and what lives below it, unless another refers to it.
func (h *Handler) remove(w http.ResponseWriter, q *request) error {
	if q.id == "" {
		return q.noID(q.Method)
	}
	force := q.query.Get("force") == "true"
	o := gateway.Object{Kind: q.kind, ID: q.objectID(q.id)}
	err := h.submit(q, nil, func(tx gateway.Tx) ([]gateway.Change, error) {
		prior, exists := tx.Object(o.Kind, o.ID)
		if !exists {
			return nil, errNoSuchKey
		}
		if err := q.condition.check(o.Kind, o.ID, prior, exists); err != nil {
			return nil, err
		}
		if !force {
			if err := checkReferrers(tx, q.resource, o.ID); err != nil {
				return nil, err
			}
		}
		changes := []gateway.Change{{Object: o, Delete: true}}
		for _, kind := range q.children {
			for child := range tx.Objects(kind) {
				if strings.HasPrefix(child.ID, o.ID+"/") {
					changes = append(changes, gateway.Change{Object: gateway.Object{Kind: kind, ID: child.ID}, Delete: true})
				}
			}
		}
		return changes, nil
	})
	if err != nil {
		return err
	}
	var body fields
	body.set("key", quote(o.Key()))
	body.set("deleted", quote("1"))
	writeJSON(w, http.StatusOK, append(body.text(), '\n'))
	return nil
}
