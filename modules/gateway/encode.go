// SPDX-License-Identifier: Apache-2.0

package gateway

import "strings"

// Encoder is a hook that encodes the body of the response for its way to the client, as a content coding does. It is
// asked when every header filter has run, whatever the priorities: what body filters leave is what is encoded. Responses
// that have no body, are part of one or are encoded already are not offered, nor those that say no-transform.
type Encoder interface {
	// Encode returns what encodes this response's body, having changed its head accordingly with [Response.Encoded], or
	// nil to leave it to others.
	Encode(x *Exchange) Encoding
}

// Encoding encodes one body. It belongs to the exchange until Release.
type Encoding interface {
	// Encode encodes the next chunk; after last nothing follows. The result may be empty; it is valid until the next call.
	Encode(chunk []byte, last bool) ([]byte, error)
	// Release is called once, when the exchange is over.
	Release()
}

// Encoded makes the head that of a body in another coding: the length is not known before the end, and a strong
// validator becomes a weak one, since the encoded body is not the same to the last byte (RFC 9110 section 8.8.1).
func (r *Response) Encoded(coding string) {
	h := &r.Header
	h.Del("Content-Length")
	h.Del("Accept-Ranges")
	h.Set("Content-Encoding", coding)
	if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) {
		h.Set("ETag", "W/"+tag)
	}
}

// beginEncoding offers the response to the encoders. The first one that takes it has it.
func (x *Exchange) beginEncoding() {
	globals := x.Table.Globals()
	if globals != nil && x.offerEncoding(globalStates, globals.encoders) || x.chain == nil {
		return
	}
	x.offerEncoding(routeStates, x.chain.encoders)
}

func (x *Exchange) offerEncoding(set int, encoders []*hook) (taken bool) {
	for _, h := range encoders {
		if !x.encodable() {
			return true
		}
		if !x.enterFilter(set, h) {
			continue
		}
		if x.encoding = h.encoder.Encode(x); x.encoding != nil {
			return true
		}
	}
	return false
}

func (x *Exchange) encodable() bool {
	r := &x.Response
	return x.Request.Method != "HEAD" && r.Status >= 200 && r.Status != 204 && r.Status != 206 && r.Status != 304 &&
		r.Header.Get("Content-Encoding") == "" && r.Header.Get("Content-Range") == "" &&
		!strings.Contains(strings.ToLower(r.Header.Get("Cache-Control")), "no-transform")
}

// encode is the last of the body filters.
func (x *Exchange) encode(chunk []byte, last bool) []byte {
	encoded, err := x.encoding.Encode(chunk, last)
	if err != nil {
		x.Break()
		return nil
	}
	return encoded
}

func (x *Exchange) endEncoding() {
	if x.encoding != nil {
		x.encoding.Release()
		x.encoding = nil
	}
}

// AcceptsEncoding reports whether the client takes a body in a content coding: RFC 9110 section 12.5.3, a quality of 0
// being a refusal.
func (r *Request) AcceptsEncoding(coding string) bool {
	accepted, named := false, false
	for name, value := range r.Header.All() {
		if !EqualFold(name, "Accept-Encoding") {
			continue
		}
		for value != "" {
			var item string
			item, value, _ = strings.Cut(value, ",")
			candidate, parameters, _ := strings.Cut(item, ";")
			candidate = strings.TrimSpace(candidate)
			switch {
			case EqualFold(candidate, coding):
				accepted, named = !zeroQuality(parameters), true
			case candidate == "*" && !named:
				accepted = !zeroQuality(parameters)
			}
		}
	}
	return accepted
}

// zeroQuality reports whether parameters such as " q=0.000" say that something is not acceptable.
func zeroQuality(parameters string) bool {
	name, value, _ := strings.Cut(strings.TrimSpace(parameters), "=")
	return EqualFold(strings.TrimSpace(name), "q") && strings.Trim(strings.TrimSpace(value), "0.") == "" && value != ""
}
