// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
)

// liveApps is what of the apps in Caddy's config decides for which names of routes it gets certificates.
type liveApps struct {
	HTTP struct {
		HTTPPort int                   `json:"http_port"`
		Servers  map[string]liveServer `json:"servers"`
	} `json:"http"`
	TLS struct {
		Certificates struct {
			Automate []string `json:"automate"`
		} `json:"certificates"`
		Automation struct {
			Policies []json.RawMessage `json:"policies"`
		} `json:"automation"`
	} `json:"tls"`
	Ando struct {
		Automated []string `json:"automated"`
	} `json:"ando"`
}

type liveServer struct {
	Listen    []string    `json:"listen"`
	Routes    []liveRoute `json:"routes"`
	AutoHTTPS struct {
		Disable   bool     `json:"disable"`
		NoCerts   bool     `json:"disable_certificates"`
		Skip      []string `json:"skip"`
		SkipCerts []string `json:"skip_certificates"`
	} `json:"automatic_https"`
	Policies []json.RawMessage `json:"tls_connection_policies"`
}

type liveRoute struct {
	Match []struct {
		Host []string `json:"host"`
	} `json:"match"`
	Handle []struct {
		Handler string      `json:"handler"`
		Routes  []liveRoute `json:"routes"`
	} `json:"handle"`
}

// livePolicy is an automation policy.
type livePolicy struct {
	ID       string            `json:"@id,omitempty"`
	Subjects []string          `json:"subjects,omitempty"`
	OnDemand bool              `json:"on_demand,omitempty"`
	Issuers  []json.RawMessage `json:"issuers,omitempty"`
	Managers []json.RawMessage `json:"get_certificate,omitempty"`
}

// internalPolicyID marks the automation policy that is the gateway's own.
const internalPolicyID = "ando_internal_names"

// nameEditor edits the apps of Caddy's config so that it manages certificates for the hosts of routes.
type nameEditor struct {
	live     liveApps
	policies []livePolicy
}

// editNames returns apps with certificates managed for those of hosts that are names under a site with automatic HTTPS, and
// which names these are. What was added for others before is taken away; what is not the gateway's own stays as it is.
func editNames(apps json.RawMessage, hosts []string) (edited json.RawMessage, names []string, err error) {
	var e nameEditor
	if err := json.Unmarshal(apps, &e.live); err != nil {
		return nil, nil, err
	}
	var kept []json.RawMessage
	for _, raw := range e.live.TLS.Automation.Policies {
		var p livePolicy
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, nil, err
		}
		if p.ID != internalPolicyID {
			kept, e.policies = append(kept, raw), append(e.policies, p)
		}
	}
	names = e.names(hosts)
	automate := slices.DeleteFunc(slices.Clone(e.live.TLS.Certificates.Automate), func(name string) bool {
		return slices.Contains(e.live.Ando.Automated, name)
	})
	// A name that somebody else has in the list is theirs.
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(automate, name) })
	own := e.internalPolicy(names)
	if slices.Equal(names, e.live.Ando.Automated) && (own != nil) == (len(kept) < len(e.live.TLS.Automation.Policies)) {
		return apps, names, nil
	}
	policies := kept
	if own != nil {
		policies = append(slices.Clip(policies), own)
	}
	for _, change := range []struct {
		path  []string
		value any
		none  bool
	}{
		{[]string{"tls", "certificates", "automate"}, append(automate, names...), len(automate)+len(names) == 0},
		{[]string{"tls", "automation", "policies"}, policies, len(policies) == 0},
		{[]string{"ando", "automated"}, names, len(names) == 0},
	} {
		var value json.RawMessage
		if !change.none {
			if value, err = json.Marshal(change.value); err != nil {
				return nil, nil, err
			}
		}
		if apps, err = setMember(apps, change.path, value); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", strings.Join(change.path, "/"), err)
		}
	}
	return apps, names, nil
}

// names returns those of hosts for which Caddy is to manage certificates, sorted: of sites that take any host. What is a
// site's own host is Caddy's already.
func (e *nameEditor) names(hosts []string) (names []string) {
	var own, skipped []string
	automatic := false
	for _, server := range e.live.HTTP.Servers {
		if !e.automatic(&server) {
			continue
		}
		for _, route := range server.Routes {
			patterns := route.hosts()
			own = append(own, patterns...)
			automatic = automatic || len(patterns) == 0 && route.hasGateway()
		}
		skipped = slices.Concat(skipped, server.AutoHTTPS.Skip, server.AutoHTTPS.SkipCerts)
	}
	if !automatic {
		return nil
	}
	for _, host := range hosts {
		covered := func(pattern string) bool { return certmagic.MatchWildcard(host, strings.ToLower(pattern)) }
		switch {
		case strings.Contains(host, "*"), net.ParseIP(strings.Trim(host, "[]")) != nil, !certmagic.SubjectQualifiesForCert(host):
		case slices.ContainsFunc(own, covered), slices.Contains(skipped, host), e.onDemand(host):
		default:
			names = append(names, host)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// automatic reports whether a server gets certificates by itself, as Caddy decides it.
func (e *nameEditor) automatic(s *liveServer) bool {
	if s.AutoHTTPS.Disable || s.AutoHTTPS.NoCerts {
		return false
	}
	httpPort := e.live.HTTP.HTTPPort
	if httpPort == 0 {
		httpPort = 80
	}
	return slices.ContainsFunc(s.Listen, func(address string) bool {
		parsed, err := caddy.ParseNetworkAddress(address)
		return err == nil && strconv.Itoa(int(parsed.StartPort)) != strconv.Itoa(httpPort)
	})
}

// hosts returns the hosts that a route is for; none is all.
func (r *liveRoute) hosts() (hosts []string) {
	for _, set := range r.Match {
		hosts = append(hosts, set.Host...)
	}
	return hosts
}

// hasGateway reports whether the gateway takes requests for any host in the route.
func (r *liveRoute) hasGateway() bool {
	for _, h := range r.Handle {
		if h.Handler == "ando" {
			return true
		}
		if slices.ContainsFunc(h.Routes, func(inner liveRoute) bool { return len(inner.hosts()) == 0 && inner.hasGateway() }) {
			return true
		}
	}
	return false
}

// policy returns the automation policy that the config has for a name, nil when that is Caddy's default.
func (e *nameEditor) policy(name string) *livePolicy {
	for i := range e.policies {
		p := &e.policies[i]
		if len(p.Subjects) == 0 || slices.ContainsFunc(p.Subjects, func(s string) bool { return certmagic.MatchWildcard(name, s) }) {
			return p
		}
	}
	return nil
}

// onDemand reports that the name's certificate is got in a handshake, and not before.
func (e *nameEditor) onDemand(name string) bool {
	p := e.policy(name)
	return p != nil && (p.OnDemand || len(p.Managers) > 0)
}

// internalPolicy returns a policy for names that no public CA knows and the config has no policy for: Caddy would ask a public
// one. nil is none.
func (e *nameEditor) internalPolicy(names []string) json.RawMessage {
	p := livePolicy{ID: internalPolicyID, Issuers: []json.RawMessage{json.RawMessage(`{"module":"internal"}`)}}
	for _, name := range names {
		if !certmagic.SubjectQualifiesForPublicCert(name) && e.policy(name) == nil {
			p.Subjects = append(p.Subjects, name)
		}
	}
	if len(p.Subjects) == 0 {
		return nil
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return nil // strings can be encoded
	}
	return raw
}

// setMember puts value in an object at a path of member names, whose objects are made where they are missing. Without a
// value the member is taken away, and objects that have nothing else with it.
func setMember(object json.RawMessage, path []string, value json.RawMessage) (json.RawMessage, error) {
	members := map[string]json.RawMessage{}
	if len(object) > 0 {
		if err := json.Unmarshal(object, &members); err != nil {
			return nil, err
		}
	}
	if members == nil {
		members = map[string]json.RawMessage{}
	}
	if len(path) > 1 {
		if _, ok := members[path[0]]; !ok && value == nil {
			return object, nil
		}
		var err error
		if value, err = setMember(members[path[0]], path[1:], value); err != nil {
			return nil, err
		}
	}
	if members[path[0]] = value; value == nil || len(path) > 1 && string(value) == "{}" {
		delete(members, path[0])
	}
	return json.Marshal(members)
}
