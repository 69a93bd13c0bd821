// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/http"
	"slices"

	"github.com/andogate/ando/modules/gateway"
)

// resource is one row of the API's matrix: what there is to know about a kind of object beyond its schema.
type resource struct {
	kind gateway.Kind
	// noun is the kind in messages.
	noun string
	// refuses lists the methods that the kind does not have.
	refuses []string

	// named is the member of the body that is the id; the path may repeat it. Empty for kinds with an id of their own.
	named string
	// overwritesID takes the id from the path alone, whatever the body says.
	overwritesID bool
	// untimed kinds have no create_time and update_time.
	untimed bool
	// stream kinds need the stream proxy.
	stream bool
	// hidden members are never shown.
	hidden []string
	// filters are the members that `filter` can select by.
	filters []string
	// fixed members cannot be patched.
	fixed []string
	// whole kinds have no sub paths.
	whole bool

	// folder is set for kinds whose objects live in folders, which come before the id in the path.
	folder *folder
	// children go with the object.
	children []gateway.Kind

	// missingID and unknownPatch are the messages for a write without an id, and for a PATCH without one, where they are
	// not "missing <noun> id".
	missingID, unknownPatch string

	// references are what the object refers to; referrers what may refer to it.
	references []reference
	referrers  []referrer
}

// folder is where objects of a kind live: a parent object, or one of a few names.
type folder struct {
	// parent is the kind of the parent; empty when the folder is one of names.
	parent        gateway.Kind
	missingParent string
	names         []string
	unknownName   string
	// join makes an object's full id.
	join func(folder, id string) string
	// showsFull stores the full id in the object's value, not the short one.
	showsFull bool
}

func (r *resource) supports(method string) bool { return !slices.Contains(r.refuses, method) }

func (r *resource) noID(method string) error {
	switch {
	case method == http.MethodPatch && r.unknownPatch != "":
		return badRequest(r.unknownPatch)
	case method == http.MethodPut && r.missingID != "":
		return badRequest(r.missingID)
	}
	return badRequest("missing " + r.noun + " id")
}

// resources are the kinds of objects by the first segment of their path.
var resources = map[string]*resource{
	"routes": {
		kind: gateway.Routes, noun: "route", filters: []string{"service_id", "upstream_id"},
		references: []reference{
			toUpstream, toService, embeddedCertificate,
			{path: []string{"plugin_config_id"}, to: gateway.PluginConfigs, missing: "failed to fetch plugin config info by plugin config id [%s], response code: 404"},
		},
	},
	"services": {
		kind: gateway.Services, noun: "service", children: []gateway.Kind{gateway.GraphQLCostDecorations},
		references: []reference{toUpstream, embeddedCertificate},
		referrers: []referrer{
			{kind: gateway.Routes, path: []string{"service_id"}, message: "can not delete this service directly, route [%s] is still using it now"},
			{kind: gateway.StreamRoutes, path: []string{"service_id"}, message: "can not delete this service directly, stream_route [%s] is still using it now"},
		},
	},
	"upstreams": {
		kind: gateway.Upstreams, noun: "upstream",
		references: []reference{{path: []string{"tls", "client_cert_id"}, to: gateway.SSLs, missing: missingCertificate, unfit: notClientCertificate}},
		referrers:  slices.Concat(upstreamUsers, trafficSplitUsers),
	},
	"ssls": {kind: gateway.SSLs, noun: "ssl", hidden: []string{"key", "keys"}},
	"stream_routes": {
		kind: gateway.StreamRoutes, noun: "stream route", stream: true, filters: []string{"service_id", "upstream_id"},
		refuses: []string{http.MethodPatch},
		references: []reference{
			toUpstream, toService, embeddedCertificate,
			{path: []string{"protocol", "superior_id"}, to: gateway.StreamRoutes, missing: "failed to fetch stream routes[%s], response code: 404", unfit: notSuperior},
		},
		referrers: []referrer{
			{kind: gateway.StreamRoutes, path: []string{"protocol", "superior_id"}, message: "can not delete this stream route directly, stream route [%s] is still using it as superior_id"},
		},
	},
	"protos": {
		kind: gateway.Protos, noun: "proto", refuses: []string{http.MethodPatch},
		referrers: []referrer{
			{kind: gateway.Routes, path: []string{"plugins", "grpc-transcode", "proto_id"}, message: "can not delete this proto, route [%s] is still using it now"},
			{kind: gateway.Services, path: []string{"plugins", "grpc-transcode", "proto_id"}, message: "can not delete this proto, service [%s] is still using it now"},
		},
	},
	"consumers": {
		kind: gateway.Consumers, noun: "consumer", named: "username", children: []gateway.Kind{gateway.Credentials},
		refuses: []string{http.MethodPost, http.MethodPatch},
		references: []reference{
			{path: []string{"group_id"}, to: gateway.ConsumerGroups, missing: "failed to fetch consumer group info by consumer group id [%s], response code: 404"},
		},
	},
	"consumer_groups": {
		kind: gateway.ConsumerGroups, noun: "consumer group", refuses: []string{http.MethodPost},
		referrers: []referrer{
			{kind: gateway.Consumers, path: []string{"group_id"}, message: "can not delete this consumer group, consumer [%s] is still using it now"},
		},
	},
	"plugin_configs": {
		kind: gateway.PluginConfigs, noun: "plugin config", refuses: []string{http.MethodPost},
		referrers: []referrer{
			{kind: gateway.Routes, path: []string{"plugin_config_id"}, message: "can not delete this plugin config, route [%s] is still using it now"},
		},
	},
	"global_rules": {kind: gateway.GlobalRules, noun: "global rule", refuses: []string{http.MethodPost}},
	"plugin_metadata": {
		kind: gateway.PluginMetadata, noun: "plugin_metadata", untimed: true, overwritesID: true,
		refuses: []string{http.MethodPost, http.MethodPatch}, missingID: "missing plugin name",
	},
	"secrets": {
		kind: gateway.Secrets, noun: "secret", refuses: []string{http.MethodPost}, unknownPatch: "no secret id",
		folder: &folder{
			names: []string{"vault", "aws", "gcp"}, unknownName: "invalid secret manager: %s",
			join: func(manager, id string) string { return manager + "/" + id }, showsFull: true,
		},
	},
}

// subresources are the kinds that live below an object, by their parent's first segment and their own.
var subresources = map[[2]string]*resource{
	{"consumers", "credentials"}: {
		kind: gateway.Credentials, noun: "credential", refuses: []string{http.MethodPost, http.MethodPatch},
		folder: &folder{parent: gateway.Consumers, missingParent: "consumer not found", join: gateway.CredentialID},
	},
	{"services", "graphql_cost_decorations"}: {
		kind: gateway.GraphQLCostDecorations, noun: "graphql cost decoration", whole: true, fixed: []string{"service_id"},
		folder: &folder{parent: gateway.Services, missingParent: "service not found", join: gateway.GraphQLCostDecorationID},
	},
}
