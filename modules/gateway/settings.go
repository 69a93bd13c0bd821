// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"crypto/x509"
	"net/netip"

	"go.uber.org/zap"
)

// CompatibleVersion is the version of APISIX whose contract Ando keeps. Clients read it from the Server field.
const CompatibleVersion = "3.18.0"

// Settings are what one Caddy config says about the data plane as a whole. They are immutable.
type Settings struct {
	// Server is the Server field of every response; empty sends none.
	Server string
	// TrustedAddresses are peers whose X-Forwarded-Proto, -Host and -Port are believed. When the list is not empty, an
	// X-Forwarded-For from anyone else is dropped. APISIX's `apisix.trusted_addresses`.
	TrustedAddresses []netip.Prefix
	// ShowUpstreamStatus sends X-APISIX-Upstream-Status with every response of a node, not only with a 5xx.
	ShowUpstreamStatus bool
	// FallbackSNI is the server name that stands for none: APISIX's `apisix.ssl.fallback_sni`. Empty is none.
	FallbackSNI string
	// NodeRoots are what the certificates of nodes are checked against; nil is the system's. APISIX's
	// `apisix.ssl.ssl_trusted_certificate`. Connections go on only under the very same pool.
	NodeRoots *x509.CertPool
	// Log is where the data plane logs; nil logs nothing.
	Log *zap.Logger
}

// DefaultSettings are those of a gateway that was told nothing.
func DefaultSettings() *Settings {
	return &Settings{Server: "APISIX/" + CompatibleVersion}
}

func (s *Settings) hasTrusted() bool { return len(s.TrustedAddresses) > 0 }

func (s *Settings) trusts(addr netip.Addr) bool {
	for _, prefix := range s.TrustedAddresses {
		if prefix.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}
