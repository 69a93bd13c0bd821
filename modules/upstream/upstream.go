// SPDX-License-Identifier: Apache-2.0

// Package upstream compiles upstreams, declared by themselves or inside a route or service, from their JSON.
package upstream

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/upstream/balance"
	"github.com/andogate/ando/modules/upstream/discovery"
	"github.com/andogate/ando/modules/upstream/health"
)

type config struct {
	ID            json.RawMessage   `json:"id"`
	Name          string            `json:"name"`
	Labels        map[string]string `json:"labels"`
	Type          string            `json:"type"`
	Nodes         json.RawMessage   `json:"nodes"`
	ServiceName   string            `json:"service_name"`
	DiscoveryType string            `json:"discovery_type"`
	DiscoveryArgs json.RawMessage   `json:"discovery_args"`
	HashOn        string            `json:"hash_on"`
	Key           string            `json:"key"`
	Scheme        string            `json:"scheme"`
	PassHost      string            `json:"pass_host"`
	Checks        json.RawMessage   `json:"checks"`
	UpstreamHost  string            `json:"upstream_host"`
	Retries       *integer          `json:"retries"`
	RetryTimeout  seconds           `json:"retry_timeout"`
	Timeout       struct {
		Connect seconds `json:"connect"`
		Send    seconds `json:"send"`
		Read    seconds `json:"read"`
	} `json:"timeout"`
	KeepAlive struct {
		Size        integer `json:"size"`
		IdleTimeout seconds `json:"idle_timeout"`
		Requests    integer `json:"requests"`
	} `json:"keepalive_pool"`
	TLS struct {
		ClientCert   string          `json:"client_cert"`
		ClientKey    string          `json:"client_key"`
		ClientCertID json.RawMessage `json:"client_cert_id"`
		Verify       bool            `json:"verify"`
	} `json:"tls"`
}

// Compile compiles the upstream that the object of that key declares. raw is as stored: it satisfies the schema, and its
// defaults are not filled in. prior is what was compiled before for the same key, or nil: its nodes, what they have
// counted, and its balancer are carried over, pointer for pointer, where nothing that they rest on has changed.
//
// An upstream that can be stored but not served has a Fault. A *gateway.Refusal says that it should not be stored.
//
// `checks` gives the upstream Health, which does nothing before a health.Pool has it. What the config refers to is looked up
// in around. With its Discover each address of a node given by name is a node of the name's weight; as long as nothing is
// known of a name the node is dialled by name, and a name that cannot be resolved is left out. An upstream of which no nodes
// are known has a Fault. It has to be compiled again when around would say something else.
func Compile(key string, raw json.RawMessage, prior *gateway.Upstream, around Surroundings) (*gateway.Upstream, error) {
	c := config{Type: "roundrobin", Scheme: cmp.Or(around.Scheme, "http"), PassHost: "pass", HashOn: "vars"}
	c.KeepAlive.Size, c.KeepAlive.IdleTimeout, c.KeepAlive.Requests = 320, 60, 1000
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	u := &gateway.Upstream{
		Key: key, ID: idText(c.ID), Name: c.Name, Labels: c.Labels,
		Type: c.Type, HashOn: c.HashOn, HashKey: c.Key, Scheme: c.Scheme, PassHost: c.PassHost, UpstreamHost: c.UpstreamHost,
		RetryTimeout: c.RetryTimeout.duration(),
		Timeout: gateway.Timeout{
			Connect: c.Timeout.Connect.duration(), Send: c.Timeout.Send.duration(), Read: c.Timeout.Read.duration(),
		},
		KeepAlive: gateway.KeepAlive{
			Size:        int(c.KeepAlive.Size),
			IdleTimeout: c.KeepAlive.IdleTimeout.duration(),
			Requests:    int(c.KeepAlive.Requests),
		},
		TLSVerify: c.TLS.Verify,
	}
	if c.TLS.ClientCert != "" {
		pair, err := tls.X509KeyPair([]byte(c.TLS.ClientCert), []byte(c.TLS.ClientKey))
		if err != nil {
			return nil, refuse("failed to load tls.client_cert with tls.client_key: " + err.Error())
		}
		u.ClientCertificate = &pair
	} else if id := idText(c.TLS.ClientCertID); id != "" {
		var err error
		if u.ClientCertificate, err = around.certificate(id); err != nil {
			setFault(u, 503, "tls.client_cert_id "+id+": "+err.Error())
		}
	}
	entries, unfound, err := around.entries(&c)
	if err != nil {
		return nil, err
	}
	setNodes(u, entries, prior)
	if err := setHealth(u, c.Checks, prior); err != nil {
		return nil, err
	}
	u.Retries = len(u.Nodes) - 1
	if c.Retries != nil {
		u.Retries = int(*c.Retries)
	}
	switch {
	case u.Fault != 0:
	case len(u.Nodes) == 0 && unfound != nil:
		setFault(u, 503, unfound.Error())
	case len(u.Nodes) == 0:
		setFault(u, 503, "the upstream has no nodes")
	default:
		setBalancer(u, prior)
	}
	return u, nil
}

// Surroundings are what an upstream can refer to outside of its own text. The zero value has nothing.
type Surroundings struct {
	// Scheme is that of an upstream which names none; empty is http.
	Scheme string
	// Certificate returns the pair of the ssl object of that id, which has to be of the type client. The upstream has a
	// Fault as long as it cannot be found: without the certificate the node would be spoken to as somebody else. nil finds
	// none.
	Certificate func(id string) (*tls.Certificate, error)
	// Discover returns the nodes that are known at the moment, as discovery.Pool.Lookup does. nil knows no services, which is
	// a Fault, and leaves names to whoever dials.
	Discover func(discovery.Query) ([]discovery.Node, error)
}

func refuse(message string) *gateway.Refusal { return &gateway.Refusal{Message: message} }

func setFault(u *gateway.Upstream, status int, reason string) {
	u.Fault, u.FaultReason = status, reason
}

// idText returns an id, which may be a string or a number, as text.
func idText(raw json.RawMessage) string { return strings.Trim(string(raw), `"`) }

// setHealth makes the checker. Nothing is probed before a health.Pool has the upstream.
func setHealth(u *gateway.Upstream, checks json.RawMessage, prior *gateway.Upstream) error {
	config, err := health.Parse(checks)
	if err != nil {
		return refuse(err.Error())
	}
	if config == nil {
		return nil
	}
	var before gateway.HealthObserver
	if prior != nil {
		before = prior.Health
	}
	u.Health = health.New(config, u, before)
	return nil
}

// setBalancer takes the balancer over from prior when it would be the same, and makes one otherwise.
func setBalancer(u *gateway.Upstream, prior *gateway.Upstream) {
	if prior != nil && prior.Balancer != nil && prior.Type == u.Type && slices.Equal(prior.Nodes, u.Nodes) &&
		prior.HashOn == u.HashOn && prior.HashKey == u.HashKey && (prior.Health == nil) == (u.Health == nil) {
		u.Balancer = prior.Balancer
		return
	}
	var hashKey balance.Key
	if u.Type == "chash" {
		hashKey = newKey(u.HashOn, u.HashKey)
	}
	build := balance.New
	if u.Health != nil {
		build = balance.NewChecked
	}
	balancer, err := build(u.Type, u.Nodes, hashKey)
	if err != nil {
		setFault(u, 500, err.Error())
		return
	}
	if prior != nil && prior.Balancer != nil {
		balance.Follow(balancer, prior.Balancer)
	}
	u.Balancer = balancer
}

// seconds is a JSON number of seconds.
type seconds float64

func (s seconds) duration() time.Duration {
	return time.Duration(min(float64(s)*float64(time.Second), math.MaxInt64/2))
}

// integer is a JSON number without a fraction, however it is written: 3.0 is one to JSON Schema.
type integer int

func (i *integer) UnmarshalJSON(raw []byte) error {
	var number float64
	if err := json.Unmarshal(raw, &number); err != nil {
		return err
	}
	if number != math.Trunc(number) || math.Abs(number) > 1<<53 {
		return fmt.Errorf("%s is not an integer", raw)
	}
	*i = integer(number)
	return nil
}
