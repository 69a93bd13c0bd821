// SPDX-License-Identifier: Apache-2.0

package proxycache

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/cache"
)

// answer ends the request with a response from the cache.
func (p *Responses) answer(x *gateway.Exchange, v *visit, e *cache.Entry, now time.Time) gateway.Verdict {
	v.hit = true
	h := &x.Response.Header
	for _, f := range e.Fields {
		h.Add(f.Name, f.Value)
	}
	h.Set("Age", strconv.FormatInt(int64(max(0, now.Sub(e.Stored))/time.Second), 10))
	h.Set(statusField, "HIT")
	if e.Status == 200 && notModified(&x.Request, h) {
		h.Del("Content-Type")
		return x.Exit(http.StatusNotModified, nil)
	}
	return x.Exit(e.Status, e.Body)
}

// notModified evaluates the conditions of a request against the head of a response (RFC 9110 section 13.2.2).
func notModified(r *gateway.Request, h *gateway.Header) bool {
	if tags, ok := r.Header.Lookup("If-None-Match"); ok {
		own := strings.TrimPrefix(h.Get("ETag"), "W/")
		for tag := range strings.SplitSeq(tags, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" || own != "" && strings.TrimPrefix(tag, "W/") == own {
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(r.Header.Get("If-Modified-Since"))
	if err != nil {
		return false
	}
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	return err == nil && !modified.After(since)
}
