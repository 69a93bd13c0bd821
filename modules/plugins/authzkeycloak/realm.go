// SPDX-License-Identifier: Apache-2.0

package authzkeycloak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"weak"

	"github.com/andogate/ando/modules/outbound"
)

// realmConfig is the part of a config that says which server is asked, and as whom.
type realmConfig struct {
	Discovery        string `json:"discovery"`
	TokenEndpoint    string `json:"token_endpoint"`
	ResourceEndpoint string `json:"resource_registration_endpoint"`
	ClientID         string `json:"client_id"`
	ClientSecret     string `json:"client_secret"`
	// The following are in seconds.
	TTL           int64 `json:"cache_ttl_seconds"`
	AccessLife    int64 `json:"access_token_expires_in"`
	AccessLeeway  int64 `json:"access_token_expires_leeway"`
	RefreshLife   int64 `json:"refresh_token_expires_in"`
	RefreshLeeway int64 `json:"refresh_token_expires_leeway"`
}

// realm is what is known of one realm of Keycloak, to one of its clients. Configs that say the same about it share it, so
// that a config that is compiled again knows what the one before did; it goes with the last of them. It is safe for
// concurrent use.
type realm struct {
	realmConfig
	client    *http.Client
	endpoints held[endpoints]
	session   held[session]
}

type realmKey struct {
	realmConfig
	options outbound.Options
}

var realms = struct {
	sync.Mutex
	known map[realmKey]weak.Pointer[realm]
}{known: make(map[realmKey]weak.Pointer[realm])}

func realmFor(config realmConfig, options outbound.Options) (*realm, error) {
	key := realmKey{config, options}
	realms.Lock()
	defer realms.Unlock()
	if known := realms.known[key].Value(); known != nil {
		return known, nil
	}
	for old, pointer := range realms.known {
		if pointer.Value() == nil {
			delete(realms.known, old)
		}
	}
	client, err := outbound.Client(options)
	if err != nil {
		return nil, err
	}
	r := &realm{realmConfig: config, client: client}
	realms.known[key] = weak.Make(r)
	return r, nil
}

const (
	formType = "application/x-www-form-urlencoded"
	// maxAnswer bounds an answer of the server, in bytes.
	maxAnswer = 1 << 20
)

// endpoints are those that a discovery document names. It is immutable.
type endpoints struct {
	Token    string `json:"token_endpoint"`
	Resource string `json:"resource_registration_endpoint"`
}

// endpointError says that an endpoint is neither in the config nor in the discovery document.
type endpointError string

func (e endpointError) Error() string { return string(e) }

const (
	errNoTokenEndpoint    endpointError = "Unable to determine token endpoint."
	errNoResourceEndpoint endpointError = "Unable to determine registration endpoint."
)

func (r *realm) tokenEndpoint(ctx context.Context) (string, error) {
	if r.TokenEndpoint != "" {
		return r.TokenEndpoint, nil
	}
	found, err := r.discover(ctx)
	if err == nil && !isAddress(found.Token) {
		err = errNoTokenEndpoint
	}
	if err != nil {
		return "", err
	}
	return found.Token, nil
}

func (r *realm) resourceEndpoint(ctx context.Context) (string, error) {
	if r.ResourceEndpoint != "" {
		return r.ResourceEndpoint, nil
	}
	found, err := r.discover(ctx)
	if err == nil && !isAddress(found.Resource) {
		err = errNoResourceEndpoint
	}
	if err != nil {
		return "", err
	}
	return found.Resource, nil
}

// discover returns what the discovery document says. The last one that could be had stays in use while there is no newer.
func (r *realm) discover(ctx context.Context) (*endpoints, error) {
	if r.Discovery == "" {
		return new(endpoints), nil
	}
	return r.endpoints.get(ctx, time.Now(), func(ctx context.Context, now time.Time, last *endpoints) (*endpoints, time.Time, error) {
		found := new(endpoints)
		if err := r.fetchJSON(ctx, r.Discovery, "", found); err != nil {
			if last == nil {
				return nil, now, fmt.Errorf("discovery: %w", err)
			}
			return last, now.Add(retryDiscovery), nil
		}
		return found, now.Add(seconds(r.TTL)), nil
	})
}

// retryDiscovery is how long a discovery document that is out of date is used before the next one is asked for again.
const retryDiscovery = 10 * time.Second

func seconds(n int64) time.Duration {
	return time.Duration(min(n, int64(1<<62/time.Second))) * time.Second
}

// credentials begins a form with which the client authenticates itself.
func (r *realm) credentials(grant string) url.Values {
	form := url.Values{"grant_type": {grant}, "client_id": {r.ClientID}}
	if r.ClientSecret != "" {
		form.Set("client_secret", r.ClientSecret)
	}
	return form
}

// post sends a form to the token endpoint. authorization may be empty.
func (r *realm) post(ctx context.Context, form url.Values, authorization string) (status int, body []byte, err error) {
	address, err := r.tokenEndpoint(ctx)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", formType)
	return r.do(req, authorization)
}

func (r *realm) do(req *http.Request, authorization string) (status int, body []byte, err error) {
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := r.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	body, err = outbound.ReadAll(res, maxAnswer)
	return res.StatusCode, body, err
}

// statusError is an answer other than 200.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("answer with status %d", int(e)) }

// fetchJSON GETs a JSON value.
func (r *realm) fetchJSON(ctx context.Context, address, authorization string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	status, body, err := r.do(req, authorization)
	switch {
	case err != nil:
		return err
	case status != http.StatusOK:
		return statusError(status)
	case json.Unmarshal(body, into) != nil:
		return errors.New("answer is not the JSON that was asked for")
	}
	return nil
}

// resources returns the ids of the resources that a path belongs to.
func (r *realm) resources(ctx context.Context, path string) ([]string, error) {
	address, err := r.resourceEndpoint(ctx)
	if err != nil {
		return nil, err
	}
	at, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	query := at.Query()
	query.Set("uri", path)
	query.Set("matchingUri", "true")
	at.RawQuery = query.Encode()
	var ids []string
	for attempt := range 2 {
		var token *session
		if token, err = r.serviceAccount(ctx); err != nil {
			return nil, fmt.Errorf("service account: %w", err)
		}
		err = r.fetchJSON(ctx, at.String(), "Bearer "+token.access, &ids)
		var status statusError
		if attempt > 0 || !errors.As(err, &status) || status != http.StatusUnauthorized {
			break
		}
		// The server has forgotten a token that had time left.
		r.session.drop(token)
	}
	if err != nil {
		return nil, fmt.Errorf("resource registration endpoint: %w", err)
	}
	return ids, nil
}
