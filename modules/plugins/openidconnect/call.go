// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/andogate/ando/modules/outbound"
)

// maxAnswer bounds what a provider may answer, in bytes.
const maxAnswer = 1 << 20

// caller makes calls to a provider, with the timeouts, the trust and the proxies of a config. It is comparable: equal
// callers share their connections and what they have learned of a provider.
type caller struct {
	timeout    time.Duration
	skipVerify bool
	// httpProxy and httpsProxy are addresses with credentials; empty is none.
	httpProxy, httpsProxy string
	// direct lists hosts that no proxy stands before, separated by commas.
	direct string
}

func newCaller(s *settings) (caller, error) {
	c := caller{timeout: s.timeout(), skipVerify: !s.SSLVerify, direct: s.Proxy.None}
	var err error
	if c.httpProxy, err = proxyAddress("http_proxy", s.Proxy.HTTP, s.Proxy.HTTPAuthorization); err != nil {
		return c, err
	}
	c.httpsProxy, err = proxyAddress("https_proxy", s.Proxy.HTTPS, s.Proxy.HTTPSAuthorization)
	return c, err
}

// proxyAddress returns the address of a proxy with the credentials for it. Errors do not repeat them.
func proxyAddress(field, address, authorization string) (string, error) {
	if address == "" {
		return "", nil
	}
	proxy, err := url.Parse(address)
	if err != nil || proxy.Scheme != "http" && proxy.Scheme != "https" || proxy.Host == "" {
		return "", fmt.Errorf(`property "proxy_opts.%s" validation failed: want http://host:port or https://host:port`, field)
	}
	if authorization == "" {
		return proxy.String(), nil
	}
	encoded, ok := strings.CutPrefix(authorization, "Basic ")
	credentials, err := base64.StdEncoding.DecodeString(encoded)
	user, password, colon := strings.Cut(string(credentials), ":")
	if !ok || err != nil || !colon {
		return "", fmt.Errorf(`property "proxy_opts.%s_authorization" validation failed: want "Basic " and the base64 of user:password`, field)
	}
	proxy.User = url.UserPassword(user, password)
	return proxy.String(), nil
}

// isDirect reports whether no proxy stands before host: it, or a domain that it is in, is in the list, or "*" is.
func (c *caller) isDirect(host string) bool {
	host = strings.ToLower(host)
	for item := range strings.SplitSeq(c.direct, ",") {
		item = strings.ToLower(strings.TrimPrefix(strings.TrimSpace(item), "."))
		if item == "*" || item != "" && (host == item || strings.HasSuffix(host, "."+item)) {
			return true
		}
	}
	return false
}

// answer is what a provider answered.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do makes one call. It follows no redirect. Errors tell neither the address nor what was sent.
func (c *caller) do(req *http.Request) (answer, error) {
	options := outbound.Options{Timeout: c.timeout, SkipVerify: c.skipVerify}
	if !c.isDirect(req.URL.Hostname()) {
		options.Proxy = c.httpProxy
		if req.URL.Scheme == "https" {
			options.Proxy = c.httpsProxy
		}
	}
	client, err := outbound.Client(options)
	if err != nil {
		return answer{}, err
	}
	res, err := client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return answer{}, err
	}
	body, err := outbound.ReadAll(res, maxAnswer)
	return answer{res.StatusCode, res.Header, body}, err
}

// get fetches a document.
func (c *caller) get(ctx context.Context, address string) ([]byte, error) {
	if err := checkEndpoint(address); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	got, err := c.do(req)
	if err != nil {
		return nil, err
	}
	if got.status != http.StatusOK {
		return nil, got.failure()
	}
	return got.body, nil
}

// failure says that an answer is none. Of its text only the error code of RFC 6749 section 5.2 is told: there may be
// anything else in it.
func (a *answer) failure() error {
	var told struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal(a.body, &told)
	if told.Error == "" || len(told.Error) > 64 || strings.ContainsFunc(told.Error, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
		return fmt.Errorf("response indicates failure, status=%d", a.status)
	}
	return fmt.Errorf("response indicates failure, status=%d, error=%s", a.status, told.Error)
}

var errNoEndpoint = errors.New("the provider has no such endpoint")

// checkEndpoint refuses what cannot be called.
func checkEndpoint(address string) error {
	if address == "" {
		return errNoEndpoint
	}
	endpoint, err := url.Parse(address)
	if err != nil || endpoint.Scheme != "http" && endpoint.Scheme != "https" || endpoint.Host == "" {
		return errors.New("the endpoint is not an http or https URL")
	}
	return nil
}
