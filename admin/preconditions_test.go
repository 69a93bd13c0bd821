// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// precondition is what must be there before a case of the examples is run. Objects go straight into the store: they may
// use plugins that are not built.
type precondition struct {
	objects []gateway.Object
	config  func(*Config)
	// encrypted says that fields are encrypted.
	encrypted bool
}

func stored(kind gateway.Kind, id, value string) gateway.Object {
	return gateway.Object{Kind: kind, ID: id, Value: []byte(value)}
}

const (
	someNodes    = `{"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}`
	splitToFirst = `"plugins":{"traffic-split":{"rules":[{"weighted_upstreams":[{"upstream_id":"1","weight":1}]}]}}`
)

var (
	firstUpstream = stored(gateway.Upstreams, "1", someNodes)
	jack          = stored(gateway.Consumers, "jack", `{"username":"jack"}`)
	foo           = stored(gateway.Consumers, "foo", `{"username":"foo","plugins":{"basic-auth":{"username":"foo","password":"bar"}}}`)
)

func routes(n int, value string) (objects []gateway.Object) {
	for i := range n {
		objects = append(objects, stored(gateway.Routes, fmt.Sprint(i+1), value))
	}
	return objects
}

func users(of gateway.Object, users ...gateway.Object) precondition {
	return precondition{objects: append([]gateway.Object{of}, users...)}
}

var (
	nothing       = precondition{}
	withoutStream = precondition{config: func(c *Config) { c.Stream = false }}
)

var preconditions = map[string]precondition{
	"": nothing, "consumer jack exists": users(jack), "jack exists": users(jack), "jack has no credentials": users(jack),
	"apisix.proxy_mode: http&stream":                                nothing,
	"apisix.proxy_mode: http&stream; stream route 2 does not exist": nothing,
	"stream mode on": nothing, "stream on": nothing,
	"default proxy_mode http":           withoutStream,
	"no key needed":                     {config: func(c *Config) { c.Keys = []Key{{Key: "secret"}} }},
	"empty, init_dir markers present":   nothing,
	"none set":                          nothing,
	"any mode":                          nothing,
	"exists":                            nothing,
	"service 1 exists":                  users(stored(gateway.Services, "1", `{}`)),
	"route 1 exists":                    {objects: routes(1, `{"id":"1","uri":"/a","create_time":1,"update_time":1,"upstream":`+someNodes+`}`)},
	"2 routes":                          {objects: routes(2, `{"uri":"/a","upstream":`+someNodes+`}`)},
	"routes 1..15 exist":                {objects: routes(15, `{"uri":"/a","upstream":`+someNodes+`}`)},
	"routes foo1, bar1":                 {objects: routes(1, `{"name":"foo1","uri":"/a","upstream":`+someNodes+`}`)},
	"secret exists":                     users(stored(gateway.Secrets, "vault/1", `{"id":"vault/1","uri":"http://127.0.0.1:8200","prefix":"kv","token":"t"}`)),
	"consumer jack has key-auth key k1": users(stored(gateway.Consumers, "jack", `{"username":"jack","plugins":{"key-auth":{"key":"k1"}}}`)),
	"consumer jack has basic-auth username u1": users(stored(gateway.Consumers, "jack", `{"username":"jack","plugins":{"basic-auth":{"username":"u1","password":"p"}}}`)),
	"credential c1 of jack has key k2":         users(jack, stored(gateway.Credentials, "jack/credentials/c1", `{"id":"c1","plugins":{"key-auth":{"key":"k2"}}}`)),

	"route 1 has upstream_id 1":                              users(firstUpstream, stored(gateway.Routes, "1", `{"uri":"/a","upstream_id":"1"}`)),
	"service 1 has upstream_id 1":                            users(firstUpstream, stored(gateway.Services, "1", `{"upstream_id":1}`)),
	"traffic-split in route 1 refers to upstream 1":          users(firstUpstream, stored(gateway.Routes, "1", `{"uri":"/a",`+splitToFirst+`}`)),
	"traffic-split in plugin_config 1 refers to upstream 1":  users(firstUpstream, stored(gateway.PluginConfigs, "1", `{`+splitToFirst+`}`)),
	"traffic-split in consumer 1 refers to upstream 1":       users(firstUpstream, stored(gateway.Consumers, "1", `{"username":"1",`+splitToFirst+`}`)),
	"traffic-split in consumer_group 1 refers to upstream 1": users(firstUpstream, stored(gateway.ConsumerGroups, "1", `{`+splitToFirst+`}`)),
	"traffic-split in global_rules 1 refers to upstream 1":   users(firstUpstream, stored(gateway.GlobalRules, "1", `{`+splitToFirst+`}`)),
	"route 1 has service_id 1":                               users(stored(gateway.Services, "1", `{}`), stored(gateway.Routes, "1", `{"uri":"/a","service_id":1}`)),
	"stream route 1 has service_id 1":                        users(stored(gateway.Services, "1", `{}`), stored(gateway.StreamRoutes, "1", `{"service_id":"1"}`)),
	"route 1 uses it":                                        users(stored(gateway.PluginConfigs, "1", `{"plugins":{}}`), stored(gateway.Routes, "1", `{"uri":"/a","plugin_config_id":"1","upstream":`+someNodes+`}`)),
	"consumer jack uses it":                                  users(stored(gateway.ConsumerGroups, "1", `{"plugins":{}}`), stored(gateway.Consumers, "jack", `{"username":"jack","group_id":"1"}`)),
	"ssl 1 has type server":                                  users(stored(gateway.SSLs, "1", `{"sni":"a.com"}`)),
	"data_encryption default":                                {objects: []gateway.Object{foo}, encrypted: true},
	"used by an upstream client_cert_id: not checked": users(stored(gateway.SSLs, "1", `{"type":"client"}`),
		stored(gateway.Upstreams, "1", `{"nodes":{"a:1":1},"tls":{"client_cert_id":"1"}}`)),
}

// withCertificate puts a certificate and its key where the body asks for valid ones.
func withCertificate(t *testing.T, body []byte) string {
	t.Helper()
	certificate, key := testCertificate()
	fs := parseFields(body)
	for i := range fs {
		text := certificate
		if fs[i].is("key") || fs[i].is("keys") {
			text = key
		}
		switch string(fs[i].value) {
		case `"<valid PEM>"`:
			fs[i].value = quote(text)
		case `["<valid PEM>"]`:
			fs[i].value = append(append([]byte{'['}, quote(text)...), ']')
		}
	}
	return string(fs.text())
}

var testCertificate = sync.OnceValues(func() (certificate, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		panic(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
})
