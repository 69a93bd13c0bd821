// SPDX-License-Identifier: Apache-2.0

// Package proxymirror is APISIX's proxy-mirror plugin: it sends copies of requests to another server, whose answers count
// for nothing.
package proxymirror

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/outbound"
)

//go:embed schema.json
var configSchema []byte

const name = "proxy-mirror"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 1010, Version: 0.1, Schema: configSchema, New: compile})
}

const (
	// maxBody is how large a request body may be to be copied. Requests with more are forwarded and not mirrored.
	maxBody = 64 << 20
	// timeout bounds one copy, from dialling to the end of the answer.
	timeout = 60 * time.Second
	// poolSize is how many idle connections are kept to a mirror.
	poolSize = 64
)

// mirror is one compiled config. It is immutable.
type mirror struct {
	client *http.Client
	log    func() *zap.Logger

	scheme, host string
	// path replaces that of the request, or with prefix goes before it; empty leaves it.
	path   string
	prefix bool
	// below is the sample ratio, of 2^64.
	below float64
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Host  string  `json:"host"`
		Path  string  `json:"path"`
		Mode  string  `json:"path_concat_mode"`
		Ratio float64 `json:"sample_ratio"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("proxy-mirror: %w", err)
	}
	scheme, host, _ := strings.Cut(c.Host, "://")
	options := outbound.Options{Timeout: timeout, KeepAlivePool: poolSize}
	if rest, ok := strings.CutPrefix(scheme, "grpc"); ok {
		scheme, options.HTTP2 = "http"+rest, true
	}
	client, err := outbound.Client(options)
	if err != nil {
		return nil, fmt.Errorf("proxy-mirror: %w", err)
	}
	if _, err := url.Parse(scheme + "://" + host + c.Path); err != nil {
		return nil, fmt.Errorf("property \"path\" validation failed: %q cannot be part of a URL", c.Path)
	}
	return &mirror{
		client: client, log: env.Log, scheme: scheme, host: host,
		path: c.Path, prefix: c.Mode == "prefix", below: c.Ratio * (1 << 64),
	}, nil
}

// sampled draws, and gives the same answer however often it is asked about one request.
func (m *mirror) sampled(x *gateway.Exchange) bool {
	// The finalizer of splitmix64: the clock's steps leave their lowest bits far from random.
	n := uint64(x.Start.UnixNano()) ^ uint64(x.Request.Client.Port())<<48
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return float64(n^n>>31) < m.below
}

// ReadsBody implements gateway.BodyReader.
func (m *mirror) ReadsBody() int64 { return maxBody }

// NeedsBody implements gateway.BodyDecider.
func (m *mirror) NeedsBody(x *gateway.Exchange) bool {
	return x.Request.ContentLength != 0 && x.Request.ContentLength <= maxBody && m.sampled(x)
}

// Access implements gateway.Accessor. There is nothing to decide: it is here that the body is read.
func (m *mirror) Access(*gateway.Exchange) gateway.Verdict { return gateway.Continue }

// BeforeProxy implements gateway.BeforeProxy.
func (m *mirror) BeforeProxy(x *gateway.Exchange) {
	if len(x.Forward.Attempts) > 1 || !m.sampled(x) {
		return
	}
	body, read := x.BodyBuffered()
	if !read && x.Request.ContentLength != 0 {
		return
	}
	if !begin(m.log) {
		return
	}
	go m.send(m.copyOf(x, body))
}

// copyOf makes a request of what the node is sent. It shares nothing with the exchange, which does not wait for it.
func (m *mirror) copyOf(x *gateway.Exchange, body []byte) *http.Request {
	target := strings.Clone(x.ForwardTarget())
	if m.path != "" {
		path, query, has := strings.Cut(target, "?")
		switch {
		case m.prefix:
			target = m.path + path
		default:
			target = m.path
		}
		if has {
			target += "?" + query
		}
	}
	req := &http.Request{
		Method: strings.Clone(x.ForwardMethod()), Host: strings.Clone(x.ForwardHost()), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		URL: m.targetURL(target), Header: make(http.Header, x.Request.Header.Len()), ContentLength: int64(len(body)), Body: http.NoBody,
	}
	for name, value := range x.Request.Header.All() {
		if ownField(name) {
			continue
		}
		name = textproto.CanonicalMIMEHeaderKey(strings.Clone(name))
		req.Header[name] = append(req.Header[name], strings.Clone(value))
	}
	if req.Header["User-Agent"] == nil {
		// net/http would add its own.
		req.Header["User-Agent"] = nil
	}
	if len(body) > 0 {
		req.Body = io.NopCloser(bytes.NewReader(bytes.Clone(body)))
	}
	return req
}

// targetURL keeps the target as it is spelled.
func (m *mirror) targetURL(target string) *url.URL {
	if strings.HasPrefix(target, "//") {
		// net/http would take it for an authority.
		path, query, _ := strings.Cut(target, "?")
		return &url.URL{Scheme: m.scheme, Host: m.host, Path: path, RawQuery: query}
	}
	return &url.URL{Scheme: m.scheme, Host: m.host, Opaque: target}
}

// ownField reports whether a field concerns the client's connection alone, or is set from the body that is sent.
func ownField(name string) bool {
	for _, own := range [...]string{
		"Connection", "Content-Length", "Expect", "Keep-Alive", "Proxy-Connection", "Trailer", "Transfer-Encoding", "Upgrade",
	} {
		if gateway.EqualFold(name, own) {
			return true
		}
	}
	return false
}

// send sends a copy and reads the answer to its end, so that the connection can be used again.
func (m *mirror) send(req *http.Request) {
	defer end()
	res, err := m.client.Do(req)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
}

var (
	_ gateway.Accessor    = (*mirror)(nil)
	_ gateway.BodyReader  = (*mirror)(nil)
	_ gateway.BodyDecider = (*mirror)(nil)
	_ gateway.BeforeProxy = (*mirror)(nil)
)
