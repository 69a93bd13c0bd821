// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// manager is a secret manager that answers with what serve writes, and its settings.
type manager struct {
	settings string
	revision uint64
}

func (m *manager) find(string, string) (json.RawMessage, uint64, bool) {
	if m.settings == "" {
		return nil, 0, false
	}
	return json.RawMessage(m.settings), m.revision, true
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func TestVault(t *testing.T) {
	t.Setenv("ANDO_TEST_TOKEN", "the-token")
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Token") != "the-token" || r.Header.Get("X-Vault-Namespace") != "team" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		switch r.URL.Path {
		case "/v1/kv/apisix/jack":
			io.WriteString(w, `{"data":{"key":"value one","n":7,"o":{}}}`)
		case "/v1/kv/apisix/two/deep":
			io.WriteString(w, `{"data":{"data":{"key":"value two"},"metadata":{"version":3}}}`)
		default:
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, "a secret that must not show")
		}
	})
	m := &manager{settings: fmt.Sprintf(`{"uri":%q,"prefix":"kv/apisix","token":"$ENV://ANDO_TEST_TOKEN","namespace":"team"}`, url)}
	r := new(Resolver)
	for reference, want := range map[string]string{
		"$secret://vault/1/jack/key":     "value one",
		"$secret://vault/1/jack/n":       "7",
		"$secret://vault/1/two/deep/key": "value two",
	} {
		if changed, err := r.Refresh(context.Background(), reference, m.find); !changed || err != nil {
			t.Errorf("%s: %v, %v", reference, changed, err)
		}
		if got, ok := r.Value(reference); got != want || !ok {
			t.Errorf("%s: got %q, %v", reference, got, ok)
		}
	}
	for _, reference := range []string{"$secret://vault/1/jack/o", "$secret://vault/1/jack/none", "$secret://vault/1/none/key"} {
		if changed, err := r.Refresh(context.Background(), reference, m.find); changed || err == nil || strings.Contains(err.Error(), "must not show") {
			t.Errorf("%s: %v, %v", reference, changed, err)
		}
		if got, ok := r.Value(reference); ok {
			t.Errorf("%s: got %q", reference, got)
		}
	}
}

func TestAWS(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		again := httptest.NewRequest(r.Method, "http://"+r.Host+"/", nil)
		for _, name := range []string{"Content-Type", "X-Amz-Target", "X-Amz-Security-Token"} {
			again.Header[name] = r.Header[name]
		}
		stamp, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil {
			t.Error(err)
		}
		again.URL.Host = r.Host
		sign(again, body, awsKey{"AKID", "SECRET", "eu-west-1", "secretsmanager"}, stamp)
		if again.Header.Get("Authorization") != r.Header.Get("Authorization") || r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		switch string(body) {
		case `{"SecretId":"jack","VersionStage":"AWSCURRENT"}`:
			io.WriteString(w, `{"Name":"jack","SecretString":"{\"key\":\"value\"}"}`)
		default:
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	m := &manager{settings: fmt.Sprintf(`{"access_key_id":"AKID","secret_access_key":"SECRET","session_token":"T","region":"eu-west-1","endpoint_url":%q}`, url)}
	r := new(Resolver)
	for reference, want := range map[string]string{
		"$secret://aws/1/jack/key": "value",
		"$secret://aws/1/jack":     `{"key":"value"}`,
	} {
		if _, err := r.Refresh(context.Background(), reference, m.find); err != nil {
			t.Error(err)
		}
		if got, _ := r.Value(reference); got != want {
			t.Errorf("%s: got %q", reference, got)
		}
	}
	if _, err := r.Refresh(context.Background(), "$secret://aws/1/rose", m.find); err == nil {
		t.Error("a secret that is not there was found")
	}
}

// TestSignatureVector is "post-x-www-form-urlencoded" of AWS's test suite for Signature Version 4.
func TestSignatureVector(t *testing.T) {
	req := httptest.NewRequest(http.MethodPost, "https://example.amazonaws.com/", nil)
	req.URL.Host = "example.amazonaws.com"
	now := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sign(req, []byte("Param1=value1"), awsKey{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "service"}, now)
	const want = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, " +
		"SignedHeaders=content-type;host;x-amz-date, Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
	if got := req.Header.Get("Authorization"); got != want {
		t.Errorf("got %s", got)
	}
}

func TestGCP(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	var grants atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/token":
			parts := strings.Split(r.FormValue("assertion"), ".")
			signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
			digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
			claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
			if rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], signature) != nil ||
				!strings.Contains(string(claims), `"iss":"me@project"`) {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprintf(w, `{"access_token":"t%d","token_type":"Bearer","expires_in":3600}`, grants.Add(1))
		case "/v1/projects/p/secrets/jack/versions/latest:access":
			if r.Header.Get("Authorization") != "Bearer t1" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			io.WriteString(w, `{"payload":{"data":"eyJrZXkiOiJ2YWx1ZSJ9"}}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	account, err := json.Marshal(map[string]string{
		"client_email": "me@project", "private_key": private, "project_id": "p", "token_uri": url + "/token", "entries_uri": url + "/v1",
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(file, account, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, settings := range []string{`{"auth_config":` + string(account) + `}`, fmt.Sprintf(`{"auth_file":%q}`, file)} {
		m := &manager{settings: settings}
		r := new(Resolver)
		for reference, want := range map[string]string{"$secret://gcp/1/jack": `{"key":"value"}`, "$secret://gcp/1/jack/key": "value"} {
			if _, err := r.Refresh(context.Background(), reference, m.find); err != nil {
				t.Error(err)
			}
			if got, _ := r.Value(reference); got != want {
				t.Errorf("%s: got %q", reference, got)
			}
		}
	}
	if n := grants.Load(); n != 1 {
		t.Errorf("%d access tokens for one account", n)
	}
}

// TestManagerDown: what has been fetched stays; it is asked for when due, and after a failure less and less often.
func TestManagerDown(t *testing.T) {
	var asked atomic.Int32
	var down atomic.Bool
	value := atomic.Value{}
	value.Store("one")
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `{"data":{"key":%q}}`, value.Load())
	})
	const reference = "$secret://vault/1/jack/key"
	now := time.Now()
	r := &Resolver{Now: func() time.Time { return now }}
	m := &manager{settings: fmt.Sprintf(`{"uri":%q,"prefix":"kv","token":"t"}`, url), revision: 1}
	refresh := func(wantChanged, wantError bool, wantAsked int32, wantValue string) {
		t.Helper()
		asked.Store(0)
		changed, err := r.Refresh(context.Background(), reference, m.find)
		got, _ := r.Value(reference)
		if changed != wantChanged || (err != nil) != wantError || asked.Load() != wantAsked || got != wantValue {
			t.Errorf("changed %v, %v, asked %d times, value %q", changed, err, asked.Load(), got)
		}
	}
	refresh(true, false, 1, "one")
	value.Store("two")
	refresh(false, false, 0, "one")
	now = now.Add(RefreshAfter)
	refresh(true, false, 1, "two")
	down.Store(true)
	now = now.Add(RefreshAfter)
	refresh(false, true, 1, "two")
	refresh(false, false, 0, "two")
	now = now.Add(minRetryAfter)
	refresh(false, true, 1, "two")
	now = now.Add(minRetryAfter)
	refresh(false, false, 0, "two")
	m.revision = 2
	down.Store(false)
	refresh(false, false, 1, "two")
	m.settings = ""
	refresh(true, true, 0, "")
}
