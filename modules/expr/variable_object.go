// SPDX-License-Identifier: Apache-2.0

package expr

import "github.com/andogate/ando/modules/gateway"

// objectVars tell what the request was matched to. Until it is, they are absent.
var objectVars = map[string]Var{
	"route_id":     routeVar(func(r *gateway.Route) string { return r.ID }),
	"route_name":   routeVar(func(r *gateway.Route) string { return r.Name }),
	"service_id":   routeVar(func(r *gateway.Route) string { return r.ServiceID }),
	"service_name": routeVar(func(r *gateway.Route) string { return r.ServiceName }),

	"matched_uri":  unlessEmpty(func(x *gateway.Exchange) string { return x.MatchedURI }),
	"matched_host": unlessEmpty(func(x *gateway.Exchange) string { return x.MatchedHost }),

	"consumer_name":     consumerVar(func(c *gateway.Consumer) string { return c.Name }),
	"consumer_group_id": consumerVar(func(c *gateway.Consumer) string { return c.GroupID }),
	"credential_id":     unlessEmpty(func(x *gateway.Exchange) string { return x.Credential }),
}

func routeVar(read func(r *gateway.Route) string) Var {
	return unlessEmpty(func(x *gateway.Exchange) string {
		if x.Route == nil {
			return ""
		}
		return read(x.Route)
	})
}

func consumerVar(read func(c *gateway.Consumer) string) Var {
	return unlessEmpty(func(x *gateway.Exchange) string {
		if x.Consumer == nil {
			return ""
		}
		return read(x.Consumer)
	})
}
