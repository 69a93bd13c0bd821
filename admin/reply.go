// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// problem is an answer that is not a success. Without text and members it has the status page for a body.
type problem struct {
	status  int
	members []member
	// text is a body that is not JSON.
	text string
	// errors is a list of all that is wrong, as JSON; nil is none.
	errors []byte
	// etag is that of the object in question; empty is none.
	etag string
}

type member struct{ name, text string }

func (p *problem) Error() string {
	if len(p.members) > 0 {
		return p.members[0].text
	}
	return p.text
}

func refuse(status int, message string) error {
	return &problem{status: status, members: []member{{"error_msg", message}}}
}

func badRequest(message string) error { return refuse(http.StatusBadRequest, message) }

var (
	errNoSuchKey  error = &problem{status: http.StatusNotFound, members: []member{{"message", "Key not found"}}}
	errNoSuchPage error = &problem{status: http.StatusNotFound}
)

// writeError answers with what err says.
func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return
	}
	p := h.problem(err)
	if p.etag != "" {
		w.Header().Set("ETag", p.etag)
	}
	if p.text == "" && len(p.members) == 0 {
		writePage(w, p.status)
		return
	}
	body := []byte(p.text)
	if p.text == "" {
		var object fields
		for _, m := range p.members {
			object.set(m.name, quote(m.text))
		}
		if p.errors != nil {
			object.set("errors", p.errors)
		}
		body = append(object.text(), '\n')
	}
	writeJSON(w, p.status, body)
}

// problem finds the answer for an error. What is nobody's fault but ours is logged, and not told.
func (h *Handler) problem(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	status, message := http.StatusInternalServerError, "internal error"
	refusal, refused := errors.AsType[*gateway.Refusal](err)
	storeErr, unstored := errors.AsType[*gateway.StoreError](err)
	switch {
	case refused:
		status, message = refusal.Status, refusal.Message
		if status == 0 {
			status = http.StatusBadRequest
		}
	case errors.Is(err, gateway.ErrReadOnly):
		status, message = http.StatusForbidden, err.Error()
	case unstored:
		status, message = http.StatusServiceUnavailable, storeErr.Error()
	case errors.Is(err, gateway.ErrClosed), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		status, message = http.StatusServiceUnavailable, err.Error()
	}
	if status >= http.StatusInternalServerError {
		h.log().Error("admin request failed", zap.Int("status", status), zap.Error(err))
	}
	return &problem{status: status, members: []member{{"error_msg", message}}}
}

// writeJSON answers with a body that is complete. The type is JSON's even for texts, as APISIX has it.
func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	// An error here is the client's going away.
	_, _ = w.Write(body)
}

// writePage answers with the status page, where APISIX's web server and not its API answers.
func writePage(w http.ResponseWriter, status int) {
	title := fmt.Sprintf("%d %s", status, http.StatusText(status))
	body := fmt.Appendf(nil, "<!doctype html>\n<html>\n<head><title>%s</title></head>\n<body><h1>%[1]s</h1></body>\n</html>\n", title)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
