// SPDX-License-Identifier: Apache-2.0

// Package discovery finds out which nodes a name or a registered service stands for.
package discovery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Query asks which nodes there are. It is comparable: equal queries are asked once.
type Query struct {
	// Type is a registry's, see Types, or Names.
	Type string
	// Name is the service's, or the host name for Names.
	Name string
	// Args is `discovery_args` as compact JSON with sorted members; empty is none.
	Args string
}

// Names is the Query.Type of a host name that stands for addresses.
const Names = ""

// NewQuery makes the Query of an upstream's `discovery_type`, `service_name` and `discovery_args`.
func NewQuery(kind, service string, args json.RawMessage) Query {
	q := Query{Type: kind, Name: service}
	var members map[string]any
	if json.Unmarshal(args, &members) == nil && len(members) > 0 {
		text, _ := json.Marshal(members)
		q.Args = string(text)
	}
	return q
}

// Arg returns a member of `discovery_args`, or other when it is not there.
func (q Query) Arg(name, other string) string {
	var args map[string]any
	_ = json.Unmarshal([]byte(q.Args), &args)
	if text, ok := args[name].(string); ok && text != "" {
		return text
	}
	return other
}

// Node is one server that was found.
type Node struct {
	// Host is an address, IPv6 without brackets. Registries may also have a name there.
	Host string `json:"host"`
	// Port is 0 where it is left to the upstream's scheme.
	Port     int `json:"port,omitempty"`
	Weight   int `json:"weight"`
	Priority int `json:"priority,omitempty"`
	// GRPCPort is in the place of Port where gRPC is spoken; 0 is none.
	GRPCPort int `json:"grpc_port,omitempty"`
}

// Source is a registry. It is safe for concurrent use.
type Source interface {
	// Watch reports all the nodes of a service, first as soon as it knows them and then whenever they may have changed, until
	// ctx ends or it cannot go on; the error is never nil. No nodes are reported when the registry says that there are
	// none, which is not the same as not knowing. The reported slice is the receiver's.
	Watch(ctx context.Context, q Query, report func([]Node)) error
}

// pacedError is the error of a source that waits by itself before it asks again: it may be asked at once.
type pacedError struct{ error }

func (e *pacedError) Unwrap() error { return e.error }

// poll is a Watch that asks again and again: ask says how long its answer is good for.
func poll(ctx context.Context, report func([]Node), ask func(context.Context) ([]Node, time.Duration, error)) error {
	for {
		nodes, good, err := ask(ctx)
		if err != nil {
			return err
		}
		report(nodes)
		if err := pause(ctx, good); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// builders make the source of each type from its settings, which are APISIX's.
var builders = map[string]func(settings json.RawMessage) (Source, error){
	"dns":        newDNS,
	"consul":     newConsul,
	"consul_kv":  newConsulKV,
	"eureka":     newEureka,
	"kubernetes": newKubernetes,
	"nacos":      newNacos,
}

// Types lists the registries that there are, in order.
func Types() []string { return slices.Sorted(maps.Keys(builders)) }

// UnknownTypeError is about a `discovery_type` that this build does not have.
type UnknownTypeError struct{ Type string }

func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("discovery_type %q is not one of %s", e.Type, strings.Join(Types(), ", "))
}

// ErrUnknown says that it is not known yet what a query stands for.
var ErrUnknown = errors.New("not known yet")

// Settings are the registries that there are and how names are resolved. It is immutable.
type Settings struct {
	sources map[string]source
}

type source struct {
	Source
	// text tells whether two configs have the same registry.
	text string
}

// resolverMember is the member of the settings that is about names.
const resolverMember = "resolver"

// Parse reads APISIX's `discovery` block: an object with a member for each registry, and besides it `resolver`, which is how
// names of nodes are resolved. `dns` is there without being named, with the system's servers.
func Parse(raw json.RawMessage) (*Settings, error) {
	var members map[string]json.RawMessage
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &members); err != nil {
			return nil, fmt.Errorf("discovery: %w", err)
		}
	}
	s := &Settings{sources: make(map[string]source)}
	for name, settings := range members {
		build := builders[name]
		switch {
		case name == resolverMember:
			continue
		case build == nil:
			return nil, fmt.Errorf("discovery: %q is not one of %s, %s", name, strings.Join(Types(), ", "), resolverMember)
		}
		if err := s.add(name, settings, build); err != nil {
			return nil, fmt.Errorf("discovery: %s: %w", name, err)
		}
	}
	if _, ok := s.sources["dns"]; !ok {
		if err := s.add("dns", nil, newDNS); err != nil {
			return nil, fmt.Errorf("discovery: dns: %w", err)
		}
	}
	if err := s.add(Names, members[resolverMember], newResolver); err != nil {
		return nil, fmt.Errorf("discovery: %s: %w", resolverMember, err)
	}
	return s, nil
}

func (s *Settings) add(kind string, settings json.RawMessage, build func(json.RawMessage) (Source, error)) error {
	built, err := build(settings)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if len(settings) > 0 {
		if err := json.Compact(&text, settings); err != nil {
			return err
		}
	}
	s.sources[kind] = source{built, text.String()}
	return nil
}

// source returns the registry that answers a query.
func (s *Settings) source(kind string) (source, error) {
	if found, ok := s.sources[kind]; ok {
		return found, nil
	}
	if builders[kind] == nil {
		return source{}, &UnknownTypeError{kind}
	}
	return source{}, fmt.Errorf("discovery_type %s is not configured: the gateway's discovery settings have no %s", kind, kind)
}

// read decodes settings strictly into a value that has the defaults.
func read(settings json.RawMessage, into any) error {
	if len(settings) == 0 || string(settings) == "null" || string(settings) == "true" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(settings))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// texts is a list of strings, of which one may stand alone.
type texts []string

func (t *texts) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(t))
}

// seconds is a JSON number of seconds, millis one of milliseconds.
type (
	seconds float64
	millis  float64
)

func (s seconds) duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

func (m millis) duration() time.Duration {
	return time.Duration(float64(m) * float64(time.Millisecond))
}
