// SPDX-License-Identifier: Apache-2.0

package proxycache

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/cache"
)

// eachDirective yields the directives of every Cache-Control field, names in lower case (RFC 9111 section 5.2).
func eachDirective(h *gateway.Header, yield func(name, argument string)) {
	for field := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(field, ",") {
			name, argument, _ := strings.Cut(strings.TrimSpace(directive), "=")
			yield(strings.ToLower(strings.TrimSpace(name)), strings.Trim(strings.TrimSpace(argument), `"`))
		}
	}
}

// seconds reads a number of seconds. What is none is 0: the strictest reading.
func seconds(text string) time.Duration {
	n, err := strconv.ParseInt(text, 10, 32)
	switch {
	case err == nil && n >= 0:
		return time.Duration(n) * time.Second
	case strings.Trim(text, "0123456789") == "" && text != "":
		return math.MaxInt32 * time.Second
	}
	return 0
}

// requestDirectives are what a client says about the responses that it takes.
type requestDirectives struct {
	noStore, noCache, onlyIfCached bool
	// maxAge, minFresh and maxStale are negative when they are not given.
	maxAge, minFresh, maxStale time.Duration
}

func parseRequest(h *gateway.Header) requestDirectives {
	d := requestDirectives{maxAge: -1, minFresh: -1, maxStale: -1}
	eachDirective(h, func(name, argument string) {
		switch name {
		case "no-store":
			d.noStore = true
		case "no-cache":
			d.noCache = true
		case "only-if-cached":
			d.onlyIfCached = true
		case "max-age":
			d.maxAge = seconds(argument)
		case "min-fresh":
			d.minFresh = seconds(argument)
		case "max-stale":
			d.maxStale = math.MaxInt64
			if argument != "" {
				d.maxStale = seconds(argument)
			}
		}
	})
	if h.Get("Cache-Control") == "" && gateway.EqualFold(strings.TrimSpace(h.Get("Pragma")), "no-cache") {
		d.noCache = true
	}
	return d
}

// accepts reports whether the client takes a stored response.
func (d *requestDirectives) accepts(e *cache.Entry, now time.Time) bool {
	age := now.Sub(e.Stored)
	left := e.Fresh - age
	switch {
	case d.maxAge >= 0 && age > d.maxAge:
		return false
	case d.minFresh >= 0 && left < d.minFresh:
		return false
	case left <= 0:
		return d.maxStale >= 0 && -left <= d.maxStale
	}
	return true
}

// responseDirectives are what a node says about its response.
type responseDirectives struct {
	// forbidden says that it is not for a shared cache, or not without asking again.
	forbidden bool
	// shareable says that it is for everybody, also when the request has credentials.
	shareable bool
	// fresh is how long it is fresh; given says that it is known.
	fresh time.Duration
	given bool
}

// parseResponse reads the head of a response, as nginx does: X-Accel-Expires over Cache-Control over Expires.
func parseResponse(h *gateway.Header, now time.Time) responseDirectives {
	var d responseDirectives
	shared := false
	eachDirective(h, func(name, argument string) {
		switch name {
		case "no-store", "private", "no-cache":
			d.forbidden = true
		case "public", "must-revalidate":
			d.shareable = true
		case "s-maxage":
			d.fresh, d.given, d.shareable, shared = seconds(argument), true, true, true
		case "max-age":
			if !shared {
				d.fresh, d.given = seconds(argument), true
			}
		}
	})
	if expires, ok := h.Lookup("Expires"); ok && !d.given {
		d.given = true
		if at, err := http.ParseTime(expires); err == nil {
			began := now
			if date, err := http.ParseTime(h.Get("Date")); err == nil {
				began = date
			}
			d.fresh = at.Sub(began)
		}
	}
	if d.given {
		d.fresh -= seconds(h.Get("Age"))
	}
	if accel, ok := h.Lookup("X-Accel-Expires"); ok {
		d.given = true
		if at, absolute := strings.CutPrefix(accel, "@"); absolute {
			n, _ := strconv.ParseInt(at, 10, 64)
			d.fresh = time.Unix(n, 0).Sub(now)
		} else {
			d.fresh = seconds(accel)
		}
	}
	return d
}
