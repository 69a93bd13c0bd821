// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/andogate/ando/modules/outbound"
)

const (
	// callTimeout bounds one call to a secret manager, as in APISIX.
	callTimeout = 5 * time.Second
	// maxAnswer bounds its answer: the managers keep secrets of 64 KB and less.
	maxAnswer = 1 << 20
)

// fetch asks a manager for a secret.
func fetch(ctx context.Context, r Reference, settings json.RawMessage) (string, error) {
	switch r.Manager {
	case "vault":
		return fetchVault(ctx, r, settings)
	case "aws":
		return fetchAWS(ctx, r, settings)
	default:
		return fetchGCP(ctx, r, settings)
	}
}

// fetchVault reads a secret of HashiCorp Vault's key-value engine.
func fetchVault(ctx context.Context, r Reference, settings json.RawMessage) (string, error) {
	var c struct{ URI, Prefix, Token, Namespace string }
	if err := json.Unmarshal(settings, &c); err != nil {
		return "", err
	}
	for _, setting := range []*string{&c.URI, &c.Prefix, &c.Token, &c.Namespace} {
		text, err := expand(*setting)
		if err != nil {
			return "", err
		}
		*setting = text
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		strings.TrimSuffix(c.URI, "/")+"/v1/"+strings.Trim(c.Prefix, "/")+"/"+r.Name, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("X-Vault-Token", c.Token)
	if c.Namespace != "" {
		req.Header.Set("X-Vault-Namespace", c.Namespace)
	}
	var answer struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	if err := ask(req, outbound.Options{Timeout: callTimeout}, &answer); err != nil {
		return "", err
	}
	return textOf(vaultMember(answer.Data, r.Member))
}

// vaultMember finds a member of a secret. Version 2 of the engine has the secret one level deeper, beside its metadata.
func vaultMember(data map[string]json.RawMessage, name string) json.RawMessage {
	if value, ok := data[name]; ok {
		return value
	}
	var inner map[string]json.RawMessage
	if _, versioned := data["metadata"]; versioned && json.Unmarshal(data["data"], &inner) == nil {
		return inner[name]
	}
	return nil
}

// ask sends a request and decodes the JSON of its answer. An answer is not shown in errors: there may be secrets in it.
func ask(req *http.Request, options outbound.Options, into any) error {
	client, err := outbound.Client(options)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	body, err := outbound.ReadAll(res, maxAnswer)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the secret manager answered %s", res.Status)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return errors.New("the secret manager's answer is not what was expected")
	}
	return nil
}
