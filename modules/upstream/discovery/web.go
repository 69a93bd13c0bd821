// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// maxAnswer bounds what a registry may answer at once.
const maxAnswer = 64 << 20

// web asks a registry's servers by HTTP. It is safe for concurrent use.
type web struct {
	servers []*url.URL
	http    *http.Client
	// timeout bounds one request, besides how long the server was asked to wait.
	timeout time.Duration
	// header is sent with each request; sign adds to it what is not always the same. A nil sign adds nothing.
	header http.Header
	sign   func(http.Header) error
	// turn is the server that answered last.
	turn atomic.Uint32
}

// newWeb returns a client of servers, each a URL, whose paths get prefix in front. Names and passwords in URLs are sent as
// basic authentication.
func newWeb(servers []string, prefix string, connect, timeout time.Duration) (*web, error) {
	if len(servers) == 0 {
		return nil, errors.New("at least one server is expected")
	}
	if connect <= 0 || timeout <= 0 {
		return nil, errors.New("timeouts are positive")
	}
	w := &web{timeout: timeout, header: http.Header{"Accept": {"application/json"}, "User-Agent": {"ando"}}}
	for _, text := range servers {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("server %q is no URL such as http://127.0.0.1:8500", redacted(text))
		}
		u.Path = strings.TrimSuffix(u.Path, "/") + strings.TrimSuffix(prefix, "/")
		w.servers = append(w.servers, u)
	}
	w.http = &http.Client{Transport: &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: connect}).DialContext, TLSHandshakeTimeout: connect,
		IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 16, ForceAttemptHTTP2: true,
	}}
	return w, nil
}

// redacted is a URL's text without what is secret in it.
func redacted(text string) string {
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		return text[i+1:]
	}
	return text
}

// request is one question to a registry.
type request struct {
	method string
	// path is below the servers' own, and escaped.
	path  string
	query url.Values
	// waits is how long the server was asked to wait with its answer.
	waits time.Duration
	body  url.Values
}

// statusError is an answer that is not what was asked for.
type statusError struct {
	server string
	status int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s answers %d", e.server, e.status)
}

// get asks the servers as each does, and decodes the answer. The header is the answer's.
func (w *web) get(ctx context.Context, q request, into any) (header http.Header, err error) {
	err = w.each(ctx, func(server *url.URL) (err error) {
		header, err = w.ask(ctx, server, q, into)
		return err
	})
	return header, err
}

// each asks one server after the other, beginning with the one that answered last, until one answers well, or that there
// is no such thing.
func (w *web) each(ctx context.Context, ask func(server *url.URL) error) (err error) {
	first := w.turn.Load()
	for i := range uint32(len(w.servers)) {
		at := (first + i) % uint32(len(w.servers))
		err = ask(w.servers[at])
		if missing := new(statusError); err == nil || errors.As(err, &missing) && missing.status == http.StatusNotFound {
			w.turn.Store(at)
			return err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return err
}

// ask asks one server, and decodes its answer.
func (w *web) ask(ctx context.Context, server *url.URL, q request, into any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout+q.waits)
	defer cancel()
	answer, err := w.open(ctx, server, q)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(into); err != nil {
		return nil, fmt.Errorf("%s: %w", server.Host, err)
	}
	return answer.Header, nil
}

// open sends a request and returns its answer when that is a success. ctx bounds the reading of its body too.
func (w *web) open(ctx context.Context, server *url.URL, q request) (*http.Response, error) {
	u := *server
	u.User = nil
	var err error
	if u.Path, err = url.PathUnescape(server.EscapedPath() + q.path); err != nil {
		return nil, err
	}
	u.RawPath = server.EscapedPath() + q.path
	u.RawQuery = q.query.Encode()
	var body io.Reader
	if q.body != nil {
		body = strings.NewReader(q.body.Encode())
	}
	method := q.method
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	r.Header = w.header.Clone()
	if q.body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if w.sign != nil {
		if err := w.sign(r.Header); err != nil {
			return nil, err
		}
	}
	if user := server.User; user != nil {
		password, _ := user.Password()
		r.SetBasicAuth(user.Username(), password)
	}
	answer, err := w.http.Do(r)
	if err != nil {
		// The error of package http has the URL, where registries want tokens.
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, fmt.Errorf("%s: %w", server.Host, err)
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, &statusError{server.Host, answer.StatusCode}
	}
	return answer, nil
}
