// SPDX-License-Identifier: Apache-2.0

package control

import (
	"crypto/tls"
	"net/http"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// sslState is what /v1/certificates says of one ssl object.
type sslState struct {
	ID string `json:"id"`
	// Source is store, or caddyfile for objects that Caddy's config declares.
	Source string   `json:"source"`
	SNIs   []string `json:"snis"`
	// Status is 0 for objects that are switched off.
	Status int `json:"status"`
	// AsksClients says that clients have to show a certificate.
	AsksClients  bool               `json:"asks_clients"`
	Certificates []certificateState `json:"certificates"`
	// Error is why handshakes for the names fail; empty is that they do not.
	Error string `json:"error,omitempty"`
}

type certificateState struct {
	Algorithm string    `json:"algorithm"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// ExpiresIn is in seconds, and negative when it is too late.
	ExpiresIn int64 `json:"expires_in"`
}

// certificates lists the ssl objects with what is served of them. Private keys are not in it.
func (h *Handler) certificates(*http.Request) (any, error) {
	states := []sslState{}
	t, ok := h.cfg.Gateway.Table().(gateway.SecureTable)
	if !ok {
		return states, nil
	}
	now := time.Now()
	for ssl := range t.SSLs() {
		states = append(states, sslStateOf(ssl, now))
	}
	return states, nil
}

func sslStateOf(ssl *gateway.SSL, now time.Time) sslState {
	s := sslState{
		ID: ssl.Object.ID, Source: "store", SNIs: ssl.Names, Status: 1, AsksClients: ssl.Client != nil,
		Certificates: []certificateState{},
	}
	if ssl.Object.Origin == gateway.OriginCaddyfile {
		s.Source = "caddyfile"
	}
	if ssl.Off {
		s.Status = 0
	}
	if ssl.Fault != nil {
		s.Error = ssl.Fault.Error()
	}
	for i := range ssl.Certificates {
		s.Certificates = append(s.Certificates, certificateStateOf(&ssl.Certificates[i], now))
	}
	return s
}

func certificateStateOf(cert *tls.Certificate, now time.Time) certificateState {
	leaf := cert.Leaf
	return certificateState{
		Algorithm: leaf.PublicKeyAlgorithm.String(), Subject: leaf.Subject.String(), Issuer: leaf.Issuer.String(),
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, ExpiresIn: int64(leaf.NotAfter.Sub(now) / time.Second),
	}
}
