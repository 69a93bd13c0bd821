// SPDX-License-Identifier: Apache-2.0

package jwtauth

import (
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
)

// TestOpenSSL: tokens that openssl has signed let in, for each of the algorithms, and not when signed with another key.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed: no tokens by another implementation")
	}
	s := signer{t: t, openssl: openssl, dir: t.TempDir()}
	for _, algorithm := range []string{
		"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
	} {
		t.Run(algorithm, func(t *testing.T) {
			s.t = t
			key, other := s.key(algorithm, "key"), s.key(algorithm, "other")
			config := fields{"key": "jack", "algorithm": algorithm}
			if strings.HasPrefix(algorithm, "HS") {
				config["secret"] = key
			} else {
				config["public_key"] = s.run("", "pkey", "-in", key, "-pubout")
			}
			g := gatewaytest.Open(t, route("a", fields{}), consumer("jack", config))
			signed := encode(`{"typ":"JWT","alg":"`+algorithm+`"}`) + "." + encode(`{"key":"jack","exp":9000000000}`)
			for signingKey, want := range map[string]string{key: "jack", other: ""} {
				token := signed + "." + base64.RawURLEncoding.EncodeToString(s.sign(algorithm, signingKey, signed))
				if got, refusal := authenticate(g, new(gateway.Exchange), request{token: token}); got != want {
					t.Errorf("got %q, want %q: %s", got, want, refusal)
				}
			}
		})
	}
}

// signer makes keys and signatures with the openssl program.
type signer struct {
	t            *testing.T
	openssl, dir string
}

func (s *signer) run(stdin string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(s.openssl, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("openssl %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// key makes a key and returns it, for an HMAC, or the path of the file with it.
func (s *signer) key(algorithm, name string) string {
	if strings.HasPrefix(algorithm, "HS") {
		return strings.TrimSpace(s.run("", "rand", "-hex", "32"))
	}
	path := filepath.Join(s.dir, algorithm+name)
	curve := map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm]
	args := map[string][]string{
		"RS": {"RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, "PS": {"RSA", "-pkeyopt", "rsa_keygen_bits:2048"},
		"ES": {"EC", "-pkeyopt", "ec_paramgen_curve:" + curve}, "Ed": {"ED25519"},
	}[algorithm[:2]]
	s.run("", append([]string{"genpkey", "-out", path, "-algorithm"}, args...)...)
	return path
}

func (s *signer) sign(algorithm, key, signed string) []byte {
	s.t.Helper()
	digest := "-sha" + algorithm[2:]
	switch algorithm[:2] {
	case "HS":
		return []byte(s.run(signed, "dgst", digest, "-binary", "-mac", "HMAC", "-macopt", "hexkey:"+hex.EncodeToString([]byte(key))))
	case "PS":
		return []byte(s.run(signed, "dgst", digest, "-sign", key, "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"))
	case "Ed":
		file := filepath.Join(s.dir, "signed")
		if err := os.WriteFile(file, []byte(signed), 0o600); err != nil {
			s.t.Fatal(err)
		}
		return []byte(s.run("", "pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", file))
	case "ES":
		var der struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal([]byte(s.run(signed, "dgst", digest, "-sign", key)), &der); err != nil {
			s.t.Fatal(err)
		}
		size := map[string]int{"256": 32, "384": 48, "512": 66}[algorithm[2:]]
		raw := make([]byte, 2*size)
		der.R.FillBytes(raw[:size])
		der.S.FillBytes(raw[size:])
		return raw
	}
	return []byte(s.run(signed, "dgst", digest, "-sign", key))
}
