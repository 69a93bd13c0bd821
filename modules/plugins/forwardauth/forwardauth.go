// SPDX-License-Identifier: Apache-2.0

// Package forwardauth is APISIX's forward-auth plugin: another service decides who may pass.
package forwardauth

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/outbound"
)

//go:embed schema.json
var configSchema []byte

const name = "forward-auth"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 2002, Version: 0.1, Blocking: true, Schema: configSchema, New: compile,
	})
}

// maxAnswer bounds the body of the auth service's answer.
const maxAnswer = 1 << 20

// forwardAuth is one compiled config. It is immutable.
type forwardAuth struct {
	client *http.Client
	uri    *url.URL
	// post sends the client's body along, up to maxBody bytes.
	post    bool
	maxBody int64
	extra   []extraField
	// request, upstream and answer name the fields that go to the service, to the node, and back to the client.
	request, upstream, answer []string
	statusOnError             int
	degrade                   bool
}

// extraField is a field of the request to the service that the config gives.
type extraField struct {
	name  string
	value *expr.Template
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		URI             string            `json:"uri"`
		Method          string            `json:"request_method"`
		RequestHeaders  names             `json:"request_headers"`
		UpstreamHeaders names             `json:"upstream_headers"`
		ClientHeaders   names             `json:"client_headers"`
		ExtraHeaders    map[string]string `json:"extra_headers"`
		MaxBody         int64             `json:"max_req_body_size"`
		StatusOnError   int               `json:"status_on_error"`
		Degrade         bool              `json:"allow_degradation"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("forward-auth: %w", err)
	}
	options, err := outbound.ParseOptions(config)
	if err != nil {
		return nil, fmt.Errorf("forward-auth: %w", err)
	}
	f := &forwardAuth{
		post: c.Method == http.MethodPost, maxBody: c.MaxBody,
		request: c.RequestHeaders, upstream: c.UpstreamHeaders, answer: c.ClientHeaders,
		statusOnError: c.StatusOnError, degrade: c.Degrade,
	}
	if f.uri, err = url.Parse(c.URI); err != nil || f.uri.Scheme != "http" && f.uri.Scheme != "https" || f.uri.Host == "" {
		return nil, fmt.Errorf("property \"uri\" validation failed: %q is not an http or https URL", c.URI)
	}
	if f.client, err = outbound.Client(options); err != nil {
		return nil, fmt.Errorf("forward-auth: %w", err)
	}
	for name, value := range c.ExtraHeaders {
		f.extra = append(f.extra, extraField{textproto.CanonicalMIMEHeaderKey(name), expr.ParseTemplate(value)})
	}
	slices.SortFunc(f.extra, func(a, b extraField) int { return strings.Compare(a.name, b.name) })
	return f, nil
}

// names is a list of field names, in the form in which net/http keeps them. An empty object is an empty list, as it is
// the default of APISIX's schema.
type names []string

// UnmarshalJSON implements json.Unmarshaler.
func (n *names) UnmarshalJSON(raw []byte) error {
	if string(raw) == "{}" {
		return nil
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, name := range list {
		*n = append(*n, textproto.CanonicalMIMEHeaderKey(name))
	}
	return nil
}

// ReadsBody implements gateway.BodyReader.
func (f *forwardAuth) ReadsBody() int64 {
	if !f.post {
		return 0
	}
	return f.maxBody
}

// Access implements gateway.Accessor.
func (f *forwardAuth) Access(x *gateway.Exchange) gateway.Verdict {
	var body []byte
	if f.post {
		var err error
		switch body, err = x.Body(); {
		case err == gateway.ErrBodyTooLarge:
			return x.Exit(http.StatusRequestEntityTooLarge, nil)
		case err != nil:
			return x.Exit(http.StatusBadRequest, nil)
		}
	}
	res, err := f.client.Do(f.ask(x, body))
	if err != nil {
		return f.failed(x)
	}
	answer, err := outbound.ReadAll(res, maxAnswer)
	if err != nil {
		return f.failed(x)
	}
	if res.StatusCode >= 300 {
		for _, name := range f.answer {
			copyField(&x.Response.Header, name, res.Header)
		}
		return x.Exit(res.StatusCode, answer)
	}
	// What the service does not say nobody says: the client cannot speak for it.
	for _, name := range f.upstream {
		copyField(&x.Request.Header, name, res.Header)
	}
	return gateway.Continue
}

// ask makes the request to the service. It keeps nothing of the exchange: net/http may be busy with a request for longer
// than its caller.
func (f *forwardAuth) ask(x *gateway.Exchange, body []byte) *http.Request {
	r := &x.Request
	req := (&http.Request{
		Method: http.MethodGet, URL: f.uri, Host: f.uri.Host, Header: make(http.Header, 8), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(x.Context())
	if f.post {
		req.Method, req.ContentLength = http.MethodPost, int64(len(body))
		req.Body = http.NoBody
		if len(body) > 0 {
			req.Body = io.NopCloser(bytes.NewReader(bytes.Clone(body)))
		}
		for _, name := range []string{"Content-Encoding", "Content-Type"} {
			sendField(req.Header, name, &r.Header)
		}
	}
	for _, name := range f.request {
		sendField(req.Header, name, &r.Header)
	}
	for _, field := range f.extra {
		req.Header.Set(field.name, clean(field.value.String(x)))
	}
	for name, value := range map[string]string{
		"X-Forwarded-Proto": r.Scheme, "X-Forwarded-Method": r.Method, "X-Forwarded-Host": r.Host,
		"X-Forwarded-Uri": r.RequestURI(), "X-Forwarded-For": r.ClientIP(),
	} {
		req.Header.Set(name, clean(value))
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
		req.Header.Del("Host")
	}
	return req
}

// sendField copies a field of the client's request to that to the service.
func sendField(to http.Header, name string, from *gateway.Header) {
	for value := range from.Values(name) {
		to.Add(name, strings.Clone(value))
	}
}

// copyField puts the service's field in the place of any of that name.
func copyField(to *gateway.Header, name string, from http.Header) {
	to.DelAliases(name)
	for _, value := range from.Values(name) {
		to.Add(name, value)
	}
}

// clean returns a copy of text without what a field cannot have: net/http would refuse the request.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, strings.Clone(text))
}

// failed decides when the service has not.
func (f *forwardAuth) failed(x *gateway.Exchange) gateway.Verdict {
	if f.degrade {
		for _, name := range f.upstream {
			x.Request.Header.DelAliases(name)
		}
		return gateway.Continue
	}
	return x.Exit(f.statusOnError, nil)
}

var (
	_ gateway.Accessor   = (*forwardAuth)(nil)
	_ gateway.BodyReader = (*forwardAuth)(nil)
)
