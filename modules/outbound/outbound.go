// SPDX-License-Identifier: Apache-2.0

// Package outbound makes the HTTP clients with which the gateway itself asks other services: auth servers, policy
// servers, secret managers, service registries.
package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Options are what a plugin's config says about its calls. They are comparable: equal options share one pool of
// connections, so that a config that is compiled again goes on with the connections it had.
type Options struct {
	// Timeout bounds one call from dialling to the last byte of the body; 0 is DefaultTimeout.
	Timeout time.Duration
	// SkipVerify accepts any certificate: `ssl_verify: false`.
	SkipVerify bool
	// CACertificates are roots as PEM, in the place of the system's; empty is the system's.
	CACertificates string
	// Certificate and Key are a client certificate as PEM; both or none.
	Certificate, Key string
	// CloseAfterUse gives every call a connection of its own: `keepalive: false`.
	CloseAfterUse bool
	// KeepAliveTimeout is how long an idle connection is kept; 0 is DefaultKeepAliveTimeout.
	KeepAliveTimeout time.Duration
	// KeepAlivePool is how many idle connections are kept per host; 0 is DefaultKeepAlivePool.
	KeepAlivePool int
	// HTTP2 speaks HTTP/2 alone, also without TLS: for gRPC.
	HTTP2 bool
	// FollowRedirects follows up to ten of them. Without it a redirect is the answer.
	FollowRedirects bool
	// Proxy is the address of an HTTP proxy for plain and TLS calls; empty is none. The environment is not looked at.
	Proxy string
}

// What holds where Options say nothing.
const (
	DefaultTimeout          = 3 * time.Second
	DefaultKeepAliveTimeout = 60 * time.Second
	DefaultKeepAlivePool    = 5
)

// maxHeader bounds the head of an answer.
const maxHeader = 64 << 10

// transports maps Options without those of a single call to *http.Transport. It grows with the number of different settings in use, not with that
// of configs.
var transports sync.Map

// Client returns a client for the options. It is safe for concurrent use. Calls are bounded by the Timeout and by the
// context of their request; their bodies have to be read, with [ReadAll], and closed as usual.
func Client(options Options) (*http.Client, error) {
	timeout := options.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	transport, err := transportFor(options)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: transport, Timeout: timeout}
	if !options.FollowRedirects {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return client, nil
}

func transportFor(options Options) (*http.Transport, error) {
	options.Timeout, options.FollowRedirects = 0, false
	if known, ok := transports.Load(options); ok {
		return known.(*http.Transport), nil
	}
	made, err := newTransport(options)
	if err != nil {
		return nil, err
	}
	shared, _ := transports.LoadOrStore(options, made)
	return shared.(*http.Transport), nil
}

func newTransport(options Options) (*http.Transport, error) {
	config := &tls.Config{InsecureSkipVerify: options.SkipVerify, MinVersion: tls.VersionTLS12}
	if options.CACertificates != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(options.CACertificates)) {
			return nil, errors.New("CA certificates: no PEM certificate in them")
		}
	}
	if options.Certificate != "" || options.Key != "" {
		pair, err := tls.X509KeyPair([]byte(options.Certificate), []byte(options.Key))
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{
		DialContext:            (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:        config,
		DisableKeepAlives:      options.CloseAfterUse,
		DisableCompression:     true,
		IdleConnTimeout:        options.KeepAliveTimeout,
		MaxIdleConnsPerHost:    options.KeepAlivePool,
		MaxResponseHeaderBytes: maxHeader,
		ForceAttemptHTTP2:      true,
	}
	if transport.IdleConnTimeout == 0 {
		transport.IdleConnTimeout = DefaultKeepAliveTimeout
	}
	if transport.MaxIdleConnsPerHost == 0 {
		transport.MaxIdleConnsPerHost = DefaultKeepAlivePool
	}
	if options.HTTP2 {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP2(true)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	if options.Proxy != "" {
		proxy, err := parseProxy(options.Proxy)
		if err != nil {
			return nil, err
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	return transport, nil
}

func parseProxy(address string) (*url.URL, error) {
	proxy, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	if proxy.Scheme != "http" && proxy.Scheme != "https" || proxy.Host == "" {
		return nil, fmt.Errorf("proxy %q: want http://host:port or https://host:port", address)
	}
	return proxy, nil
}

// ErrTooLarge says that an answer is longer than its reader accepts.
var ErrTooLarge = errors.New("answer is too large")

// ReadAll reads and closes the body of an answer of up to limit bytes. A longer one gives ErrTooLarge.
func ReadAll(res *http.Response, limit int64) ([]byte, error) {
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, ErrTooLarge
	}
	return body, nil
}
