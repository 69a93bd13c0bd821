// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// Where a pod has what its service account may say to the API server.
const (
	accountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	accountCA    = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
)

// How long requests to an API server may take: APISIX's numbers are not settings there.
const (
	kubeConnect = 2 * time.Second
	kubeAnswer  = 30 * time.Second
)

// kubernetes finds services by the endpoints that Kubernetes has for them. There is one watch for each cluster, whatever the
// number of services.
type kubernetes struct {
	// clusters are by their ids; that of a config with one cluster is "".
	clusters map[string]*cluster
	one      bool
}

// kubeSettings are one cluster's.
type kubeSettings struct {
	ID      string `json:"id"`
	Service struct {
		Schema string `json:"schema"`
		Host   string `json:"host"`
		Port   number `json:"port"`
		Verify *bool  `json:"ssl_verify"`
	} `json:"service"`
	Client struct {
		Token     string `json:"token"`
		TokenFile string `json:"token_file"`
		CertFile  string `json:"cert_file"`
		KeyFile   string `json:"key_file"`
		// CAFile is not APISIX's, which trusts whoever answers.
		CAFile string `json:"ca_file"`
		Verify *bool  `json:"ssl_verify"`
	} `json:"client"`
	Namespaces struct {
		Equal    string `json:"equal"`
		NotEqual string `json:"not_equal"`
		Match    texts  `json:"match"`
		NotMatch texts  `json:"not_match"`
	} `json:"namespace_selector"`
	Labels       string  `json:"label_selector"`
	Weight       int     `json:"default_weight"`
	Slices       bool    `json:"watch_endpoint_slices"`
	WatchTimeout seconds `json:"watch_timeout_seconds"`
	WatchJitter  seconds `json:"watch_jitter_seconds"`
	Retry        seconds `json:"watch_retry_interval_seconds"`
	RetryMax     seconds `json:"watch_retry_max_seconds"`
}

// number is a JSON number, or a string, as text.
type number string

func (n *number) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		*n = number(text)
		return nil
	}
	var plain json.Number
	err := json.Unmarshal(raw, &plain)
	*n = number(plain)
	return err
}

// defaultKube has APISIX's defaults, but that a failure is retried sooner than after 40s.
func defaultKube() *kubeSettings {
	return &kubeSettings{Weight: 50, WatchTimeout: 1800, WatchJitter: 990, Retry: 1, RetryMax: 30}
}

var kubeID = regexp.MustCompile(`^[a-z0-9]{1,8}$`)

// newKubernetes reads APISIX's `discovery.kubernetes`: an object for the cluster that the gateway runs in or one other, or
// an array of objects, each with an id.
func newKubernetes(settings json.RawMessage) (Source, error) {
	k := &kubernetes{clusters: make(map[string]*cluster)}
	if settings = bytes.TrimSpace(settings); len(settings) == 0 || settings[0] != '[' {
		k.one = true
		s := defaultKube()
		if err := read(settings, s); err != nil {
			return nil, err
		}
		s.inCluster()
		return k, k.add(s)
	}
	var several []json.RawMessage
	if err := json.Unmarshal(settings, &several); err != nil {
		return nil, err
	}
	if len(several) == 0 {
		return nil, errors.New("at least one cluster is expected")
	}
	for i, one := range several {
		s := defaultKube()
		err := read(one, s)
		switch {
		case err != nil:
		case !kubeID.MatchString(s.ID):
			err = fmt.Errorf("id %q is not one to eight small letters and digits", s.ID)
		case k.clusters[s.ID] != nil:
			err = fmt.Errorf("id %q is there twice", s.ID)
		case s.Service.Host == "" || s.Service.Port == "":
			err = errors.New("service.host and service.port are required")
		default:
			err = k.add(s)
		}
		if err != nil {
			return nil, fmt.Errorf("cluster %d: %w", i, err)
		}
	}
	return k, nil
}

// inCluster fills in what a pod knows of its cluster.
func (s *kubeSettings) inCluster() {
	if s.Service.Host == "" {
		s.Service.Host = "${KUBERNETES_SERVICE_HOST}"
	}
	if s.Service.Port == "" {
		s.Service.Port = "${KUBERNETES_SERVICE_PORT}"
	}
	if c := &s.Client; c.Token == "" && c.TokenFile == "" && c.CertFile == "" {
		c.TokenFile = accountToken
	}
}

func (k *kubernetes) add(s *kubeSettings) error {
	c, err := newCluster(s)
	k.clusters[s.ID] = c
	return err
}

// Watch implements Source. The name is NAMESPACE/NAME:PORT, with the cluster's id and a slash in front where clusters have
// ids. PORT is the name of a port, or the number of one without a name.
func (k *kubernetes) Watch(ctx context.Context, q Query, report func([]Node)) error {
	name, id := q.Name, ""
	if !k.one {
		id, name, _ = strings.Cut(name, "/")
	}
	colon := strings.LastIndexByte(name, ':')
	if colon < 0 || strings.Count(name[:colon], "/") != 1 {
		form := "NAMESPACE/NAME:PORT"
		if !k.one {
			form = "ID/" + form
		}
		return fmt.Errorf("service_name %q is not %s", q.Name, form)
	}
	c := k.clusters[id]
	if c == nil {
		return fmt.Errorf("service_name %q: there is no cluster %q", q.Name, id)
	}
	return c.watch(ctx, name[:colon], name[colon+1:], report)
}

// check says what is wrong with settings whose surroundings, the environment and files, are not looked at: a config is
// adapted and validated elsewhere than it is used.
func (s *kubeSettings) check() error {
	c, selectors := &s.Client, 0
	n := &s.Namespaces
	for _, given := range []bool{n.Equal != "", n.NotEqual != "", len(n.Match) > 0, len(n.NotMatch) > 0} {
		if given {
			selectors++
		}
	}
	switch {
	case s.Service.Schema != "http" && s.Service.Schema != "https":
		return fmt.Errorf("service.schema %q is not one of http, https", s.Service.Schema)
	case c.Token == "" && c.TokenFile == "" && c.CertFile == "":
		return errors.New("one of client.token, client.token_file and client.cert_file is required")
	case c.Token != "" && c.TokenFile != "":
		return errors.New("client.token and client.token_file exclude each other")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("client.cert_file and client.key_file go together")
	case selectors > 1:
		return errors.New("namespace_selector has one of equal, not_equal, match, not_match")
	case s.Weight < 0 || s.WatchJitter < 0:
		return errors.New("default_weight and watch_jitter_seconds are not negative")
	case s.WatchTimeout < 1 || s.Retry < 0 || s.RetryMax < 0:
		return errors.New("watch_timeout_seconds is at least 1, and the times between retries are not negative")
	}
	return nil
}

// selector returns what objects are asked for, below which path, and which namespaces count of those that come.
func (s *kubeSettings) selector() (path string, query url.Values, counts func(namespace string) bool, err error) {
	path, kind := "/api/v1", "/endpoints"
	if s.Slices {
		path, kind = "/apis/discovery.k8s.io/v1", "/endpointslices"
	}
	query, counts = url.Values{}, func(string) bool { return true }
	if s.Labels != "" {
		query.Set("labelSelector", s.Labels)
	}
	n := &s.Namespaces
	switch {
	case n.Equal != "":
		// A role in that namespace is enough for it.
		path += "/namespaces/" + url.PathEscape(n.Equal)
	case n.NotEqual != "":
		query.Set("fieldSelector", "metadata.namespace!="+n.NotEqual)
	case len(n.Match) > 0:
		counts, err = whole(n.Match)
	case len(n.NotMatch) > 0:
		var excluded func(string) bool
		excluded, err = whole(n.NotMatch)
		counts = func(namespace string) bool { return !excluded(namespace) }
	}
	return path + kind, query, counts, err
}

// whole returns whether one of the patterns finds all of a text.
func whole(patterns []string) (func(string) bool, error) {
	compiled := make([]*regexp.Regexp, len(patterns))
	for i, pattern := range patterns {
		var err error
		if compiled[i], err = regexp.Compile(pattern); err != nil {
			return nil, fmt.Errorf("namespace_selector: %w", err)
		}
	}
	return func(text string) bool {
		for _, c := range compiled {
			if at := c.FindStringIndex(text); at != nil && at[0] == 0 && at[1] == len(text) {
				return true
			}
		}
		return false
	}, nil
}

// expand replaces a text that is ${NAME} by that variable of the environment.
func expand(text string) (string, error) {
	name, ok := strings.CutPrefix(text, "${")
	if !ok || !strings.HasSuffix(name, "}") {
		return text, nil
	}
	name = strings.TrimSuffix(name, "}")
	value, ok := os.LookupEnv(name)
	if !ok {
		return "", fmt.Errorf("the environment has no %s", name)
	}
	return value, nil
}

// connect returns a client of the API server. The environment and the certificates are read now.
func (s *kubeSettings) connect() (*web, error) {
	host, err := expand(s.Service.Host)
	if err != nil {
		return nil, fmt.Errorf("service.host: %w", err)
	}
	port, err := expand(string(s.Service.Port))
	if err != nil {
		return nil, fmt.Errorf("service.port: %w", err)
	}
	w, err := newWeb([]string{s.Service.Schema + "://" + net.JoinHostPort(strings.Trim(host, "[]"), port)}, "", kubeConnect, kubeAnswer)
	if err != nil {
		return nil, err
	}
	transport := w.http.Transport.(*http.Transport)
	transport.ResponseHeaderTimeout = kubeAnswer
	// A watch may have nothing to say for half an hour; a server that has gone has to be noticed nevertheless.
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second}
	if transport.TLSClientConfig, err = s.tls(); err != nil {
		return nil, err
	}
	w.sign = s.authorize
	return w, nil
}

// authorize adds the token, which a file has anew from time to time.
func (s *kubeSettings) authorize(header http.Header) error {
	token, err := expand(s.Client.Token)
	if err != nil {
		return fmt.Errorf("client.token: %w", err)
	}
	if s.Client.TokenFile != "" {
		path, err := expand(s.Client.TokenFile)
		if err != nil {
			return fmt.Errorf("client.token_file: %w", err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("client.token_file: %w", err)
		}
		token = string(text)
	}
	if token = strings.TrimSpace(token); token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	return nil
}

// tls returns how the server is verified and what is shown to it. Without a ca_file it is the service account's authority
// that counts, where there is one, and the system's otherwise.
func (s *kubeSettings) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	for _, verify := range []*bool{s.Service.Verify, s.Client.Verify} {
		if verify != nil {
			config.InsecureSkipVerify = !*verify
		}
	}
	path := s.Client.CAFile
	if path == "" && s.Client.TokenFile == accountToken {
		path = accountCA
	}
	if path != "" && !config.InsecureSkipVerify {
		text, err := os.ReadFile(path)
		switch {
		case err != nil && (s.Client.CAFile != "" || !errors.Is(err, os.ErrNotExist)):
			return nil, fmt.Errorf("client.ca_file: %w", err)
		case err == nil:
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(text) {
				return nil, fmt.Errorf("client.ca_file: %s has no certificate", path)
			}
		}
	}
	if s.Client.CertFile != "" {
		// Read for each handshake: certificates are renewed.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(s.Client.CertFile, s.Client.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("client.cert_file: %w", err)
			}
			return &pair, nil
		}
	}
	return config, nil
}
