// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/json"
	"strings"
	"time"
)

// Kind names one type of resource. Its text is the segment that APISIX's Admin API and etcd layout use for it.
type Kind string

// The resource kinds of APISIX 3.x.
const (
	Routes                  Kind = "routes"
	Services                Kind = "services"
	Upstreams               Kind = "upstreams"
	Consumers               Kind = "consumers"
	Credentials             Kind = "credentials"
	ConsumerGroups          Kind = "consumer_groups"
	PluginConfigs           Kind = "plugin_configs"
	GlobalRules             Kind = "global_rules"
	PluginMetadata          Kind = "plugin_metadata"
	SSLs                    Kind = "ssls"
	StreamRoutes            Kind = "stream_routes"
	Protos                  Kind = "protos"
	Secrets                 Kind = "secrets"
	GraphQLCostDecorations  Kind = "graphql_cost_decorations"
	credentialsInfix             = "/credentials/"
	graphQLDecorationsInfix      = "/graphql_cost_decorations/"
)

// Kinds lists every kind in the order in which objects are compiled: what is referred to comes before what refers to it.
var Kinds = []Kind{
	PluginMetadata, Secrets, Protos, SSLs, Upstreams, PluginConfigs, Services, GraphQLCostDecorations,
	ConsumerGroups, Consumers, Credentials, GlobalRules, Routes, StreamRoutes,
}

// Origin says who owns an object. The zero value is the Admin API.
type Origin uint8

const (
	// OriginStore marks objects that live in the Store and may be changed through the Admin API.
	OriginStore Origin = iota
	// OriginCaddyfile marks objects declared in Caddy's configuration. They are served and listed; a write to one
	// is refused with [ErrReadOnly].
	OriginCaddyfile
)

// Object is one stored resource.
//
// Value is the JSON the Admin API accepted, plus id, create_time and update_time; it carries no schema defaults. It is
// shared by every reader and must not be modified.
//
// ID is the last part of the key below the kind's folder. Three kinds have more than one segment in it, as in APISIX:
// credentials ("jack/credentials/c1"), GraphQL cost decorations ("s1/graphql_cost_decorations/d1") and secrets
// ("vault/1").
type Object struct {
	Kind  Kind
	ID    string
	Value json.RawMessage
	// Created and Modified are revisions, APISIX's createdIndex and modifiedIndex.
	Created, Modified uint64
	// Expires is when the object goes by itself; zero is never. APISIX's `ttl`.
	Expires time.Time
	Origin  Origin
}

// Key returns the object's key in APISIX's etcd layout with the default prefix, such as "/apisix/routes/1".
func (o Object) Key() string { return Key(o.Kind, o.ID) }

// Key returns the key of an object of the given kind and id in APISIX's etcd layout with the default prefix.
func Key(kind Kind, id string) string {
	switch kind {
	case Credentials:
		kind = Consumers
	case GraphQLCostDecorations:
		kind = Services
	}
	return "/apisix/" + string(kind) + "/" + id
}

// ParseKey is the inverse of [Key]. ok is false for text that is no object's key.
func ParseKey(key string) (kind Kind, id string, ok bool) {
	rest, ok := strings.CutPrefix(key, "/apisix/")
	if !ok {
		return "", "", false
	}
	folder, id, ok := strings.Cut(rest, "/")
	if !ok || id == "" {
		return "", "", false
	}
	kind = Kind(folder)
	switch {
	case kind == Consumers && strings.Contains(id, credentialsInfix):
		kind = Credentials
	case kind == Services && strings.Contains(id, graphQLDecorationsInfix):
		kind = GraphQLCostDecorations
	}
	return kind, id, true
}

// CredentialID returns the id of a consumer's credential.
func CredentialID(consumer, credential string) string {
	return consumer + credentialsInfix + credential
}

// SplitCredentialID is the inverse of [CredentialID].
func SplitCredentialID(id string) (consumer, credential string, ok bool) {
	return strings.Cut(id, credentialsInfix)
}

// GraphQLCostDecorationID returns the id of a service's GraphQL cost decoration.
func GraphQLCostDecorationID(service, decoration string) string {
	return service + graphQLDecorationsInfix + decoration
}

// Change puts or deletes one object.
type Change struct {
	// Object is what to put. For a delete only Kind and ID count.
	Object Object
	Delete bool
}
