// SPDX-License-Identifier: Apache-2.0

package table

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/secret"
)

// sslDocument is what the compiler reads of an ssl object.
type sslDocument struct {
	Type      string   `json:"type"`
	Status    *int     `json:"status"`
	SNI       string   `json:"sni"`
	SNIs      []string `json:"snis"`
	Cert      string   `json:"cert"`
	Key       string   `json:"key"`
	Certs     []string `json:"certs"`
	Keys      []string `json:"keys"`
	Protocols []string `json:"ssl_protocols"`
	Client    *struct {
		CA    string   `json:"ca"`
		Depth *int     `json:"depth"`
		Skip  []string `json:"skip_mtls_uri_regex"`
	} `json:"client"`
}

// sslKeys are where an ssl object has private keys; they are stored encrypted.
var sslKeys = []secret.Path{{"key"}, {"keys"}}

// compileSSL compiles an ssl object of the type server and enters it under its names. One that cannot be served is no
// reason to refuse the write, as in APISIX, where a certificate may be replaced before its key: handshakes for its names
// fail.
func (b *builder) compileSSL(e, old *entry) error {
	s, ok := priorOf[*gateway.SSL](old)
	if !ok || !bytes.Equal(old.Value, e.Value) || old.Origin != e.Origin || secret.MayRefer(e.Value) {
		var err error
		if s, err = b.t.compiler.ssl(e.Object); s == nil {
			return err
		}
		if err != nil {
			b.faults = append(b.faults, fmt.Errorf("%s: %w", e.Key(), err))
			b.t.compiler.log().Warn("ssl object cannot be served as it is", zap.String("ssl", e.ID), zap.Error(err))
		}
	}
	e.compiled = s
	b.t.ssls = b.t.ssls.with(s)
	return nil
}

// ssl returns nil without an error for objects of the type client. An error beside an object says what of it cannot be
// served.
func (c *Compiler) ssl(o gateway.Object) (*gateway.SSL, error) {
	resolved, unknown := c.Secrets.Substitute(c.Keyring.DecryptFields(o.Value, sslKeys...))
	var d sslDocument
	if err := json.Unmarshal(resolved, &d); err != nil {
		return nil, fmt.Errorf("invalid configuration: %w", err)
	}
	if d.Type == "client" {
		return nil, nil
	}
	s := &gateway.SSL{Object: o, Off: d.Status != nil && *d.Status == 0, Versions: versionsOf(d.Protocols)}
	for _, name := range append([]string{d.SNI}, d.SNIs...) {
		if name = serverName(name); name != "" && !slices.Contains(s.Names, name) {
			s.Names = append(s.Names, name)
		}
	}
	if len(unknown) > 0 {
		s.Fault = errors.New(unresolved(unknown))
		return s, s.Fault
	}
	var errs []error
	s.Certificates, errs = certificatesOf(&d)
	if len(s.Certificates) == 0 {
		s.Fault = errors.Join(errs...)
	}
	if d.Client != nil {
		var err error
		if s.Client, err = d.clientAuth(); err != nil {
			// What it would have checked nobody knows.
			s.Fault = err
			errs = append(errs, err)
		}
	}
	return s, errors.Join(errs...)
}

// presenter is an object whose upstreams present the certificates of ssl objects to their nodes. It is immutable.
type presenter struct {
	ssls   []string
	object *gateway.Object
}

// present notes that an upstream of an object presents the certificate of an ssl object, which need not exist.
func (b *builder) present(o *gateway.Object, ssl string) {
	noted := presenter{object: o}
	if before := b.t.presenting.get(o.Key()); before != nil {
		noted.ssls = slices.Clip(before.ssls)
	}
	noted.ssls = append(noted.ssls, ssl)
	b.t.presenting = b.t.presenting.with(o.Key(), &noted)
}

// clientCertificate returns the pair of an ssl object of the type client.
func (b *builder) clientCertificate(id string) (*tls.Certificate, error) {
	e := b.t.objects[kindSSLs].get(id)
	if e == nil {
		return nil, errors.New("the ssl object does not exist")
	}
	c := b.t.compiler
	resolved, unknown := c.Secrets.Substitute(c.Keyring.DecryptFields(e.Value, sslKeys...))
	if len(unknown) > 0 {
		return nil, errors.New(unresolved(unknown))
	}
	var d sslDocument
	if err := json.Unmarshal(resolved, &d); err != nil {
		return nil, err
	}
	if d.Type != "client" {
		return nil, errors.New("the ssl object is not of the type client")
	}
	pair, err := tls.X509KeyPair([]byte(d.Cert), []byte(d.Key))
	if err != nil {
		return nil, err
	}
	return &pair, nil
}

// certificatesOf returns the pairs that can be presented and what is wrong with the others.
func certificatesOf(d *sslDocument) (certs []tls.Certificate, errs []error) {
	add := func(what, cert, key string) {
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
			return
		}
		certs = append(certs, pair)
	}
	add("cert and key", d.Cert, d.Key)
	for i, cert := range d.Certs {
		if i < len(d.Keys) {
			add(fmt.Sprintf("pair %d of certs and keys", i+1), cert, d.Keys[i])
		}
	}
	slices.SortStableFunc(certs, func(a, b tls.Certificate) int { return signingCost(a) - signingCost(b) })
	return certs, errs
}

// signingCost ranks private keys by what a handshake with them costs.
func signingCost(c tls.Certificate) int {
	switch c.PrivateKey.(type) {
	case ed25519.PrivateKey, *ecdsa.PrivateKey:
		return 0
	}
	return 1
}

var tlsVersions = map[string]uint16{"TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}

func versionsOf(names []string) (versions []uint16) {
	for _, name := range names {
		if version, ok := tlsVersions[name]; ok {
			versions = append(versions, version)
		}
	}
	slices.Sort(versions)
	return slices.Compact(versions)
}

// clientAuth compiles what is asked of clients. It is never nil: without what is wrong it lets nobody in.
func (d *sslDocument) clientAuth() (*gateway.ClientAuth, error) {
	c := &gateway.ClientAuth{CAs: x509.NewCertPool(), Depth: 1}
	if d.Client.Depth != nil {
		c.Depth = *d.Client.Depth
	}
	if !c.CAs.AppendCertsFromPEM([]byte(d.Client.CA)) {
		return c, errors.New("client.ca: no certificate in PEM")
	}
	skip, err := skipPatterns(d.Client.Skip)
	if err == nil && len(skip) > 0 {
		c.Skip = func(path string) bool {
			return slices.ContainsFunc(skip, func(p *expr.Pattern) bool {
				found, err := p.Search(path)
				return found && err == nil
			})
		}
	}
	return c, err
}

func skipPatterns(texts []string) ([]*expr.Pattern, error) {
	patterns := make([]*expr.Pattern, len(texts))
	for i, text := range texts {
		var err error
		if patterns[i], err = expr.CompilePattern(text, false); err != nil {
			return nil, fmt.Errorf("client.skip_mtls_uri_regex: %w", err)
		}
	}
	return patterns, nil
}

// checkSSL checks what the schema cannot: the patterns of paths that need no certificate.
func checkSSL(o gateway.Object) error {
	var d sslDocument
	if err := json.Unmarshal(o.Value, &d); err != nil {
		return fmt.Errorf("invalid configuration: %w", err)
	}
	if d.Client == nil {
		return nil
	}
	_, err := skipPatterns(d.Client.Skip)
	return err
}

// serverName returns a server name as it is looked up: in lower case and without a trailing dot.
func serverName(name string) string {
	return strings.TrimSuffix(strings.ToLower(name), ".")
}

// sslIndex finds ssl objects by server name. It is immutable.
type sslIndex struct {
	// exact has names, suffix what is behind the asterisk of a wildcard: with its dot for "*.example.com", all of nothing
	// for "*". Objects that share one stand in key order.
	exact, suffix hashMap[[]*gateway.SSL]
	// loose counts wildcards that match a part of a label, such as "*example.com"; clients the objects that want
	// certificates.
	loose, clients int
}

func (i sslIndex) find(name string) *gateway.SSL {
	name = serverName(name)
	if name == "" {
		return nil
	}
	if found := i.exact.get(name); found != nil {
		return (*found)[0]
	}
	// A wildcard stands for one label, or for the beginning of the first.
	label := strings.IndexByte(name, '.')
	if label < 0 {
		label = len(name)
	}
	from := label
	if i.loose > 0 {
		from = 0
	}
	for ; from <= label && from < len(name); from++ {
		if found := i.suffix.get(name[from:]); found != nil {
			return (*found)[0]
		}
	}
	if found := i.suffix.get(""); found != nil {
		return (*found)[0]
	}
	return nil
}

// with returns the index with an object under its names. Objects that are switched off are in none.
func (i sslIndex) with(s *gateway.SSL) sslIndex {
	return i.changed(s, 1, func(m hashMap[[]*gateway.SSL], name string) hashMap[[]*gateway.SSL] {
		var owners []*gateway.SSL
		if found := m.get(name); found != nil {
			owners = *found
		}
		at, _ := slices.BinarySearchFunc(owners, s, compareSSL)
		return m.with(name, slices.Insert(slices.Clip(owners), at, s))
	})
}

// without returns the index without an object that is in it.
func (i sslIndex) without(s *gateway.SSL) sslIndex {
	return i.changed(s, -1, func(m hashMap[[]*gateway.SSL], name string) hashMap[[]*gateway.SSL] {
		found := m.get(name)
		if found == nil {
			return m
		}
		rest := slices.DeleteFunc(slices.Clone(*found), func(other *gateway.SSL) bool { return other == s })
		if len(rest) == 0 {
			return m.without(name)
		}
		return m.with(name, rest)
	})
}

func (i sslIndex) changed(s *gateway.SSL, by int,
	change func(m hashMap[[]*gateway.SSL], name string) hashMap[[]*gateway.SSL],
) sslIndex {
	if s.Off {
		return i
	}
	if s.Client != nil {
		i.clients += by
	}
	for _, name := range s.Names {
		suffix, wild := strings.CutPrefix(name, "*")
		if !wild {
			i.exact = change(i.exact, name)
			continue
		}
		i.suffix = change(i.suffix, suffix)
		if suffix != "" && suffix[0] != '.' {
			i.loose += by
		}
	}
	return i
}

func compareSSL(a, b *gateway.SSL) int { return strings.Compare(a.Object.ID, b.Object.ID) }

// SSL implements gateway.SecureTable.
func (t *Table) SSL(name string) *gateway.SSL { return t.ssls.find(name) }

// AsksClients implements gateway.SecureTable.
func (t *Table) AsksClients() bool { return t.ssls.clients > 0 }

// SSLs implements gateway.SecureTable.
func (t *Table) SSLs() iter.Seq[*gateway.SSL] {
	return func(yield func(*gateway.SSL) bool) {
		t.objects[kindSSLs].each(func(e *entry) bool {
			s, ok := e.compiled.(*gateway.SSL)
			return !ok || yield(s)
		})
	}
}

var _ gateway.SecureTable = (*Table)(nil)
