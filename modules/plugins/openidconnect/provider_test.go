// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/andogate/ando/modules/plugins/plugintest"
)

const (
	webClient = "web"
	webSecret = "seeded-client-secret-of-32-bytes-or-more"
	secret16  = "seeded-session-secret"
)

// realProvider is zitadel's OpenID provider with its store of examples. Who comes to log in is logged in as its first user.
type realProvider struct {
	*httptest.Server
	*storage.Storage

	mu sync.Mutex
	// redirects are where the web client's users may be sent back to.
	redirects []string
	// asked counts the calls to each path.
	asked map[string]int
}

func newRealProvider(t testing.TB) *realProvider {
	t.Helper()
	p := &realProvider{asked: make(map[string]int)}
	var handler http.Handler
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked[r.URL.Path]++
		p.mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	users := storage.NewUserStore("http://localhost:1")
	p.Storage = storage.NewStorageWithClients(users, map[string]*storage.Client{
		webClient: storage.WebClient(webClient, webSecret), "native": storage.NativeClient("native"),
	})
	provider, err := op.NewProvider(&op.Config{
		CodeMethodS256: true, AuthMethodPost: true, GrantTypeRefreshToken: true, DefaultLogoutRedirectURI: "/bye",
	}, p, op.StaticIssuer(p.URL), op.WithAllowInsecure(), op.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	back := op.AuthCallbackURL(provider)
	mux := http.NewServeMux()
	mux.Handle("/", provider)
	mux.HandleFunc("/bye", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "bye") })
	login := func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("authRequestID")
		if err := p.CheckUsernamePassword("test-user@localhost", "verysecure", id); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		http.Redirect(w, r, back(r.Context(), id), http.StatusFound)
	}
	mux.Handle("/login/username", op.NewIssuerInterceptor(provider.IssuerFromRequest).HandlerFunc(login))
	handler = mux
	return p
}

// GetClientByClientID implements op.Storage.
func (p *realProvider) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	client, err := p.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return realClient{client, p.redirects}, nil
}

// realClient has JWTs for access tokens.
type realClient struct {
	op.Client
	redirects []string
}

func (c realClient) RedirectURIs() []string              { return c.redirects }
func (c realClient) PostLogoutRedirectURIs() []string    { return c.redirects }
func (c realClient) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }
func (c realClient) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken}
}

// allow lets the provider send browsers to a gateway.
func (p *realProvider) allow(gateway string, paths ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.redirects = nil
	for _, path := range paths {
		p.redirects = append(p.redirects, gateway+path)
	}
}

func (p *realProvider) times(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

// discovery is the address of the discovery document.
func (p *realProvider) discovery() string { return p.URL + "/.well-known/openid-configuration" }

// config returns the plugins of a route: this one, with more members than it takes to log in.
func (p *realProvider) config(more string) string {
	return fmt.Sprintf(`{"openid-connect":{"client_id":%q,"client_secret":%q,"discovery":%q,"session":{"secret":%q}%s}}`,
		webClient, webSecret, p.discovery(), secret16, more+patience)
}

// browser is a client that keeps cookies and follows redirects.
type browser struct {
	*plugintest.Site
	http.Client
	// went lists the addresses of the last page, redirects included.
	went []string
}

func newBrowser(s *plugintest.Site) *browser {
	s.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.Fatal(err)
	}
	b := &browser{Site: s, Client: http.Client{Jar: jar}}
	b.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		b.went = append(b.went, r.URL.String())
		if len(via) > 12 {
			return fmt.Errorf("redirects without an end: %v", b.went)
		}
		return nil
	}
	return b
}

// open shows a page of the gateway, or of anybody with a full address.
func (b *browser) open(target string, fields ...string) plugintest.Answer {
	b.Helper()
	b.Saw, b.SawBody, b.went = nil, "", nil
	if strings.HasPrefix(target, "/") {
		target = b.URL + target
	}
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	res, err := b.Client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	return plugintest.Answer{Status: res.StatusCode, Header: res.Header, Body: string(body)}
}
