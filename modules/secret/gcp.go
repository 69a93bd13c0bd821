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
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/andogate/ando/modules/outbound"
)

// gcpAccount is a service account of Google Cloud, as a secrets object or a key file has it.
type gcpAccount struct {
	ClientEmail string   `json:"client_email"`
	PrivateKey  string   `json:"private_key"`
	ProjectID   string   `json:"project_id"`
	TokenURI    string   `json:"token_uri"`
	EntriesURI  string   `json:"entries_uri"`
	Scope       []string `json:"scope"`
}

// fetchGCP reads the latest version of a secret from Google Cloud Secret Manager.
func fetchGCP(ctx context.Context, r Reference, settings json.RawMessage) (string, error) {
	var c struct {
		Account   *gcpAccount `json:"auth_config"`
		File      string      `json:"auth_file"`
		SSLVerify *bool       `json:"ssl_verify"`
	}
	if err := json.Unmarshal(settings, &c); err != nil {
		return "", err
	}
	account, err := gcpAccountOf(c.Account, c.File)
	if err != nil {
		return "", err
	}
	options := outbound.Options{Timeout: callTimeout, SkipVerify: c.SSLVerify != nil && !*c.SSLVerify}
	token, err := account.token(ctx, options)
	if err != nil {
		return "", fmt.Errorf("get an access token: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		strings.TrimSuffix(account.EntriesURI, "/")+"/projects/"+url.PathEscape(account.ProjectID)+
			"/secrets/"+url.PathEscape(r.Name)+"/versions/latest:access", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", token)
	var answer struct {
		Payload struct{ Data []byte }
	}
	if err := ask(req, options, &answer); err != nil {
		return "", err
	}
	return r.member(string(answer.Payload.Data))
}

func gcpAccountOf(inline *gcpAccount, file string) (*gcpAccount, error) {
	account := inline
	if account == nil {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("auth_file: %w", err)
		}
		account = new(gcpAccount)
		if err := json.Unmarshal(raw, account); err != nil {
			return nil, errors.New("auth_file: not a JSON object with a service account")
		}
	}
	for _, setting := range []*string{&account.ClientEmail, &account.PrivateKey, &account.ProjectID} {
		text, err := expand(*setting)
		if err != nil {
			return nil, err
		}
		*setting = text
	}
	for setting, preset := range map[*string]string{
		&account.TokenURI:   "https://oauth2.googleapis.com/token",
		&account.EntriesURI: "https://secretmanager.googleapis.com/v1",
	} {
		if *setting == "" {
			*setting = preset
		}
	}
	if len(account.Scope) == 0 {
		account.Scope = []string{"https://www.googleapis.com/auth/cloud-platform"}
	}
	return account, nil
}

// gcpTokens keeps access tokens until shortly before they expire, by the grant they were given for. There is one for each
// account in use.
var gcpTokens struct {
	sync.Mutex
	byAccount map[string]gcpToken
}

type gcpToken struct {
	authorization string
	expires       time.Time
}

// earlyRefresh is how long before its end a token is no longer used.
const earlyRefresh = time.Minute

// token returns the value of an Authorization field, from the account's own assertion (RFC 7523 section 2.1).
func (a *gcpAccount) token(ctx context.Context, options outbound.Options) (string, error) {
	account := a.TokenURI + "\n" + a.ClientEmail + "\n" + a.PrivateKey + "\n" + strings.Join(a.Scope, " ")
	now := time.Now()
	gcpTokens.Lock()
	cached, ok := gcpTokens.byAccount[account]
	gcpTokens.Unlock()
	if ok && now.Before(cached.expires) {
		return cached.authorization, nil
	}
	assertion, err := a.assertion(now)
	if err != nil {
		return "", err
	}
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.TokenURI, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := ask(req, options, &answer); err != nil {
		return "", err
	}
	got := gcpToken{answer.TokenType + " " + answer.AccessToken, now.Add(time.Duration(answer.ExpiresIn)*time.Second - earlyRefresh)}
	gcpTokens.Lock()
	defer gcpTokens.Unlock()
	if gcpTokens.byAccount == nil {
		gcpTokens.byAccount = make(map[string]gcpToken)
	}
	for other, token := range gcpTokens.byAccount {
		if !now.Before(token.expires) {
			delete(gcpTokens.byAccount, other)
		}
	}
	gcpTokens.byAccount[account] = got
	return got.authorization, nil
}

// assertion is a JSON Web Token in which the account asks for an access token, signed with its key (RS256).
func (a *gcpAccount) assertion(now time.Time) (string, error) {
	block, _ := pem.Decode([]byte(a.PrivateKey))
	if block == nil {
		return "", errors.New("private_key: no PEM in it")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			return "", errors.New("private_key: neither PKCS #8 nor PKCS #1")
		}
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return "", errors.New("private_key: not an RSA key")
	}
	claims, err := json.Marshal(map[string]any{
		"iss": a.ClientEmail, "aud": a.TokenURI, "scope": strings.Join(a.Scope, " "),
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." +
		base64.RawURLEncoding.EncodeToString(claims)
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		return "", err
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
