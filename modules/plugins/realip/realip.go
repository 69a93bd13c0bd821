// SPDX-License-Identifier: Apache-2.0

// Package realip is APISIX's real-ip plugin: it learns from a trusted proxy who the client is.
package realip

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

const name = "real-ip"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 23000, Version: 0.1, Schema: configSchema, New: compile})
}

// realIP is one compiled config. It is immutable.
type realIP struct {
	log func() *zap.Logger
	// trusted is nil when everybody is.
	trusted *expr.AddrSet
	// forwarded takes the address from X-Forwarded-For; otherwise it is in source.
	forwarded bool
	source    expr.Var
	recursive bool
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Source    string   `json:"source"`
		Trusted   []string `json:"trusted_addresses"`
		Recursive bool     `json:"recursive"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("real-ip: %w", err)
	}
	r := &realIP{
		log: env.Log, forwarded: strings.EqualFold(strings.ReplaceAll(c.Source, "-", "_"), "http_x_forwarded_for"),
		source: expr.Variable(c.Source), recursive: c.Recursive && c.Trusted != nil,
	}
	if c.Trusted != nil {
		var err error
		if r.trusted, err = expr.NewAddrSet(c.Trusted); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Rewrite implements gateway.Rewriter.
func (r *realIP) Rewrite(x *gateway.Exchange) gateway.Verdict {
	if r.trusted != nil && !r.trusted.Contains(x.Request.Client.Addr()) {
		return gateway.Continue
	}
	text, ok := "", false
	if r.forwarded {
		text, ok = r.forwardedFor(&x.Request.Header)
	} else {
		text, ok = r.source(x)
	}
	if !ok || text == "" {
		return gateway.Continue
	}
	client, ok := parseAddr(text)
	if !ok {
		r.log().Debug("real-ip: this is no address", zap.String("text", strings.Clone(text)))
		return gateway.Continue
	}
	x.Request.Client = client
	return gateway.Continue
}

// forwardedFor returns the last entry of X-Forwarded-For or, if the config is recursive, the last that is not trusted, and
// the first when all are. Several lines are one list (RFC 9110 section 5.3).
func (r *realIP) forwardedFor(h *gateway.Header) (entry string, ok bool) {
	var room [4]string
	lines := room[:0]
	for line := range h.ValuesByAlias("X-Forwarded-For") {
		lines = append(lines, line)
	}
	for i := len(lines) - 1; i >= 0; i-- {
		for rest := lines[i]; rest != ""; {
			comma := strings.LastIndexByte(rest, ',')
			text := strings.Trim(rest[comma+1:], " \t")
			rest = rest[:max(comma, 0)]
			if text == "" {
				continue
			}
			entry = text
			if addr, valid := parseAddr(text); !r.recursive || !valid || !r.trusted.Contains(addr.Addr()) {
				return entry, true
			}
		}
	}
	return entry, entry != ""
}

// parseAddr reads an address with a port or without; IPv6 with a port stands in brackets. Without one the port is 0.
func parseAddr(text string) (addr netip.AddrPort, ok bool) {
	host, port := text, ""
	switch {
	case strings.HasPrefix(text, "["):
		inner, rest, closed := strings.Cut(text[1:], "]")
		if !closed || rest != "" && rest[0] != ':' {
			return addr, false
		}
		host = inner
		if rest != "" {
			port = rest[1:]
			if port == "" {
				return addr, false
			}
		}
	case strings.Count(text, ":") == 1:
		host, port, _ = strings.Cut(text, ":")
		if port == "" {
			return addr, false
		}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return addr, false
	}
	n, ok := parsePort(port)
	return netip.AddrPortFrom(ip.Unmap().WithZone(""), n), ok
}

// parsePort reads a port from 1 to 65535; no text is 0.
func parsePort(text string) (port uint16, ok bool) {
	if text == "" {
		return 0, true
	}
	n := 0
	for i := range len(text) {
		c := text[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = 10*n + int(c-'0'); n > 65535 {
			return 0, false
		}
	}
	return uint16(n), n > 0
}

var _ gateway.Rewriter = (*realIP)(nil)
