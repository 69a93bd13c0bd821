// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"slices"
	"strconv"
	"strings"
)

// identityFields tell a node who sent the request. They come from AttachConsumer alone.
var identityFields = [...]string{"X-Consumer-Username", "X-Credential-Identifier", "X-Consumer-Custom-ID"}

func dropIdentityFields(h *Header) {
	h.DelFunc(func(name, _ string) bool { return isIdentityField(name) })
}

func isIdentityField(name string) bool {
	if len(name) < 19 || lower[name[0]] != 'x' {
		return false
	}
	for _, field := range identityFields {
		if equalAlias(name, field) {
			return true
		}
	}
	return false
}

// claimFields makes the header as received one that hooks and conditions can rely on. Fields that tell who the client is
// and how it came here are the gateway's, in every spelling, unless a trusted proxy sent them; what Connection declares to
// be for this hop goes now, because later it would name fields that the gateway itself has set (data-plane.md section 1
// step 3 and section 7).
func (x *Exchange) claimFields() {
	r := &x.Request
	h := &r.Header
	trusted := x.Settings.trusts(r.Peer.Addr())
	keepForwardedFor := trusted || !x.Settings.hasTrusted()
	dropNominatedFields(h)
	h.DelFunc(func(name, _ string) bool {
		switch len(name) {
		case 9:
			return !trusted && EqualFold(name, "Forwarded")
		case 15:
			return !keepForwardedFor && equalAlias(name, "X-Forwarded-For")
		case 16:
			return !trusted && (equalAlias(name, "X-Forwarded-Host") || equalAlias(name, "X-Forwarded-Port"))
		case 17:
			return !trusted && equalAlias(name, "X-Forwarded-Proto")
		}
		return isIdentityField(name)
	})
	addAbsent(h, trusted, "X-Forwarded-Proto", r.Scheme)
	addAbsent(h, trusted, "X-Forwarded-Host", r.Host)
	addAbsent(h, trusted, "X-Forwarded-Port", r.local.of(r.Local.Port()))
}

func addAbsent(h *Header, mayBePresent bool, name, value string) {
	if !mayBePresent {
		h.Add(name, value)
	} else if h.Get(name) == "" {
		h.Set(name, value)
	}
}

// portText is the text of the port it was last asked for.
type portText struct {
	port uint16
	text string
}

func (p *portText) of(port uint16) string {
	if port != p.port || p.text == "" {
		p.port, p.text = port, strconv.Itoa(int(port))
	}
	return p.text
}

// setForwardedFields makes the request's header what the node is to see. Host and framing are not in it: the wire writes
// those from ForwardHost and from the body.
func (x *Exchange) setForwardedFields() {
	r := &x.Request
	h := &r.Header
	websocket := false
	if x.Route.Websocket && headerHasToken(h, "Connection", "upgrade") {
		// Only this protocol: an upgrade to h2c would carry requests past every route and plugin.
		websocket = EqualFold(h.Get("Upgrade"), "websocket")
	}
	trailers := headerHasToken(h, "TE", "trailers")
	forwardedFor := ""
	for i := range h.fields {
		if !equalAlias(h.fields[i].Name, "X-Forwarded-For") {
			continue
		}
		if forwardedFor != "" {
			forwardedFor += ", "
		}
		forwardedFor += h.fields[i].Value
	}
	h.DelFunc(func(name, _ string) bool {
		switch len(name) {
		case 4:
			return EqualFold(name, "Host")
		case 6:
			return EqualFold(name, "Expect")
		case 9:
			return equalAlias(name, "X-Real-IP")
		case 14:
			return EqualFold(name, "Content-Length")
		case 15:
			return equalAlias(name, "X-Forwarded-For")
		}
		return isConnectionField(name)
	})
	if trailers {
		h.Add("TE", "trailers")
	}
	if websocket {
		h.Add("Connection", "Upgrade")
		h.Add("Upgrade", "websocket")
	}
	if forwardedFor != "" {
		h.Add("X-Forwarded-For", forwardedFor+", "+r.PeerIP())
	} else {
		h.Add("X-Forwarded-For", r.PeerIP())
	}
	h.Add("X-Real-IP", r.ClientIP())
}

// DropConnectionFields removes the fields that concern one connection: those of RFC 9110 section 7.6.1 and those that
// Connection names. Wires call it on the header of a node's response.
func DropConnectionFields(h *Header) {
	dropNominatedFields(h)
	h.DelFunc(func(name, _ string) bool { return isConnectionField(name) })
}

func isConnectionField(name string) bool {
	switch len(name) {
	case 2:
		return EqualFold(name, "TE")
	case 7:
		return EqualFold(name, "Upgrade")
	case 10:
		return EqualFold(name, "Connection") || EqualFold(name, "Keep-Alive")
	case 16:
		return EqualFold(name, "Proxy-Connection")
	case 17:
		return EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// dropNominatedFields removes the fields that Connection names, apart from those that are handled by name. Nearly always
// there is none, and then it allocates nothing.
func dropNominatedFields(h *Header) {
	var nominated []string
	for i := range h.fields {
		if !EqualFold(h.fields[i].Name, "Connection") {
			continue
		}
		for list := h.fields[i].Value; list != ""; {
			var item string
			item, list, _ = strings.Cut(list, ",")
			item = strings.Trim(item, " \t")
			if item != "" && !EqualFold(item, "close") && !EqualFold(item, "Host") && !isConnectionField(item) {
				nominated = append(nominated, item)
			}
		}
	}
	if nominated == nil {
		return
	}
	h.DelFunc(func(name, _ string) bool {
		return slices.ContainsFunc(nominated, func(item string) bool { return EqualFold(item, name) })
	})
}

func headerHasToken(h *Header, field, token string) bool {
	for i := range h.fields {
		if EqualFold(h.fields[i].Name, field) && listHasToken(h.fields[i].Value, token) {
			return true
		}
	}
	return false
}

func listHasToken(list, token string) bool {
	for list != "" {
		var item string
		item, list, _ = strings.Cut(list, ",")
		if EqualFold(strings.Trim(item, " \t"), token) {
			return true
		}
	}
	return false
}
