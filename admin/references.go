// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/andogate/ando/modules/gateway"
)

// reference is a member that names another object, which must exist when it is written.
type reference struct {
	path []string
	to   gateway.Kind
	// missing is the message when there is no such object; %s is its id.
	missing string
	// unfit says what is wrong with the object that there is; empty for nothing. It may be nil.
	unfit func(from *draft, to gateway.Object) string
}

const missingCertificate = "failed to fetch ssl info by ssl id [%s], response code: 404"

var (
	toUpstream = reference{
		path: []string{"upstream_id"}, to: gateway.Upstreams,
		missing: "failed to fetch upstream info by upstream id [%s], response code: 404",
	}
	toService = reference{
		path: []string{"service_id"}, to: gateway.Services,
		missing: "failed to fetch service info by service id [%s], response code: 404",
	}
	embeddedCertificate = reference{
		path: []string{"upstream", "tls", "client_cert_id"}, to: gateway.SSLs,
		missing: missingCertificate, unfit: notClientCertificate,
	}
)

func notClientCertificate(_ *draft, to gateway.Object) string {
	if kind, _ := stringOf(lookup(to.Value, "type")); kind == "client" {
		return ""
	}
	return fmt.Sprintf("failed to fetch ssl info by ssl id [%s], wrong ssl type", to.ID)
}

func notSuperior(from *draft, to gateway.Object) string {
	mine, _ := stringOf(lookup(from.object.Value, "protocol", "name"))
	its, ok := stringOf(lookup(to.Value, "protocol", "name"))
	if !ok || mine == its {
		return ""
	}
	return fmt.Sprintf("protocol mismatch: subordinate protocol [%s] does not match superior protocol [%s]", mine, its)
}

// checkReferences refuses an object that names another which does not exist. It runs on the committer.
func checkReferences(tx gateway.Tx, r *resource, d *draft) error {
	for _, ref := range r.references {
		id, ok := idText(lookup(d.object.Value, ref.path...))
		if !ok {
			continue
		}
		if ref.to == r.kind && id == d.object.ID {
			return badRequest("stream route can not set itself as superior_id")
		}
		to, exists := tx.Object(ref.to, id)
		if !exists {
			return badRequest(fmt.Sprintf(ref.missing, id))
		}
		if ref.unfit == nil {
			continue
		}
		if message := ref.unfit(d, to); message != "" {
			return badRequest(message)
		}
	}
	return nil
}

// referrer is a member of other objects that may name an object; while one does the object cannot be deleted.
type referrer struct {
	kind gateway.Kind
	path []string
	// names reports whether the object refers to id in another way than by the member at path. It may be nil.
	names func(value []byte, id string) bool
	// message is the refusal; %s is the referrer's id.
	message string
}

var upstreamUsers = []referrer{
	{kind: gateway.Routes, path: []string{"upstream_id"}, message: "can not delete this upstream, route [%s] is still using it now"},
	{kind: gateway.Services, path: []string{"upstream_id"}, message: "can not delete this upstream, service [%s] is still using it now"},
	{kind: gateway.StreamRoutes, path: []string{"upstream_id"}, message: "can not delete this upstream, stream_route [%s] is still using it now"},
}

// trafficSplitUsers are the kinds whose plugins may send traffic to an upstream.
var trafficSplitUsers = func() (users []referrer) {
	for _, user := range []struct {
		kind gateway.Kind
		noun string
	}{
		{gateway.Routes, "route"},
		{gateway.Services, "service"},
		{gateway.PluginConfigs, "plugin_config"},
		{gateway.Consumers, "consumer"},
		{gateway.ConsumerGroups, "consumer_group"},
		{gateway.GlobalRules, "global_rules"},
	} {
		users = append(users, referrer{
			kind: user.kind, path: []string{"plugins", "traffic-split", "rules"}, names: splitsTo,
			message: "can not delete this upstream, plugin in " + user.noun + " [%s] is still using it now",
		})
	}
	return users
}()

// splitsTo reports whether rules of traffic-split name the upstream.
func splitsTo(rules []byte, id string) bool {
	for rule := range eachItem(rules) {
		for weighted := range eachItem(lookup(rule, "weighted_upstreams")) {
			if named, ok := idText(lookup(weighted, "upstream_id")); ok && named == id {
				return true
			}
		}
	}
	return false
}

func (r *referrer) refersTo(value json.RawMessage, id string) bool {
	// Most objects do not have the member at all, and looking for a word is much faster than reading an object. An
	// escape could hide the word.
	word := r.path[len(r.path)-1]
	if !bytes.Contains(value, []byte(word)) && bytes.IndexByte(value, '\\') < 0 {
		return false
	}
	found := lookup(value, r.path...)
	if r.names != nil {
		return r.names(found, id)
	}
	text, ok := idText(found)
	return ok && text == id
}

// checkReferrers refuses to delete what others refer to. It runs on the committer.
func checkReferrers(tx gateway.Tx, r *resource, id string) error {
	for i := range r.referrers {
		ref := &r.referrers[i]
		for o := range tx.Objects(ref.kind) {
			if (o.Kind != r.kind || o.ID != id) && ref.refersTo(o.Value, id) {
				return badRequest(fmt.Sprintf(ref.message, o.ID))
			}
		}
	}
	return nil
}
