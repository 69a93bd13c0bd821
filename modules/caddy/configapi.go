// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/andogate/ando/admin"
)

// configAPI is Caddy's admin endpoint as the Reloader uses it. Caddy has no other way to change a part of its config.
type configAPI struct {
	// address returns where the newest config has it.
	address func() string
}

// configTime bounds a request: also a reload, of which it is not known whether it will succeed.
const configTime = time.Minute

// Read implements admin.ConfigAPI.
func (c *configAPI) Read(ctx context.Context, path string) (json.RawMessage, string, error) {
	value, header, err := c.do(ctx, http.MethodGet, path, nil, nil)
	return bytes.TrimSpace(value), header.Get("Etag"), err
}

// Replace implements admin.ConfigAPI.
func (c *configAPI) Replace(ctx context.Context, path, etag string, value json.RawMessage) error {
	_, _, err := c.do(ctx, http.MethodPatch, path, http.Header{"If-Match": {etag}}, value)
	return err
}

func (c *configAPI) do(ctx context.Context, method, path string, header http.Header, body []byte) ([]byte, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, configTime)
	defer cancel()
	address := c.address()
	if address == "" {
		return nil, nil, errors.New("Caddy's admin endpoint is off")
	}
	parsed, err := caddy.ParseNetworkAddress(address)
	if err != nil {
		return nil, nil, fmt.Errorf("the address of Caddy's admin endpoint: %w", err)
	}
	host := "127.0.0.1"
	if !parsed.IsUnixNetwork() {
		host = parsed.JoinHostPort(0)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+host+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if header != nil {
		r.Header = header
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	// The endpoint is a new one after each reload, so no connection is worth keeping.
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, parsed.Network, parsed.JoinHostPort(0))
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return nil, nil, err
	case res.StatusCode == http.StatusPreconditionFailed:
		return nil, nil, admin.ErrConflict
	case res.StatusCode != http.StatusOK:
		var problem struct{ Error string }
		if json.Unmarshal(answer, &problem) != nil || problem.Error == "" {
			problem.Error = res.Status
		}
		return nil, nil, fmt.Errorf("Caddy says: %s", problem.Error)
	}
	return answer, res.Header, nil
}

var _ admin.ConfigAPI = (*configAPI)(nil)
