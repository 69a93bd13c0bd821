// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// checkSSL checks the certificates and keys of an ssl object that satisfies its schema. That a key belongs to its
// certificate is not checked, as in APISIX: one may be replaced before the other.
func checkSSL(ssl map[string]any) error {
	if err := checkPair(ssl["cert"], ssl["key"]); err != nil {
		return refuse("%s", err)
	}
	if ssl["type"] == "client" {
		return nil
	}
	certs, _ := ssl["certs"].([]any)
	keys, _ := ssl["keys"].([]any)
	if len(certs) != len(keys) {
		return refuse("mismatched number of certs and keys")
	}
	for i := range certs {
		if err := checkPair(certs[i], keys[i]); err != nil {
			return refuse("failed to handle cert-key pair[%d]: %s", i+1, err)
		}
	}
	client, ok := ssl["client"].(map[string]any)
	if !ok {
		return nil
	}
	if ca, _ := client["ca"].(string); !isReference(ca) {
		if err := parseCertificate(ca); err != nil {
			return refuse("failed to validate client_cert: failed to parse cert: %s", err)
		}
	}
	return nil
}

// checkPair checks a certificate chain and a key in PEM. If either is kept elsewhere neither is looked at.
func checkPair(cert, key any) error {
	certText, _ := cert.(string)
	keyText, _ := key.(string)
	if isReference(certText) || isReference(keyText) {
		return nil
	}
	if err := parseCertificate(certText); err != nil {
		return fmt.Errorf("failed to parse cert: %w", err)
	}
	if !strings.HasPrefix(strings.TrimSpace(keyText), "---") {
		// APISIX takes whatever is not PEM for a key that it has encrypted before.
		return errors.New("failed to decrypt previous encrypted key")
	}
	if err := parseKey(keyText); err != nil {
		return fmt.Errorf("failed to parse key: %w", err)
	}
	return nil
}

func parseCertificate(text string) error {
	found := false
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return errors.New("no certificate in PEM")
	}
	return nil
}

func parseKey(text string) error {
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "PRIVATE KEY" && !strings.HasSuffix(block.Type, " PRIVATE KEY") {
			continue
		}
		if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			return nil
		}
		if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return nil
		}
		if _, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return nil
		}
		return errors.New("not an unencrypted RSA, EC or Ed25519 key")
	}
	return errors.New("no private key in PEM")
}
