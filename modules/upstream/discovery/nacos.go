// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // it is what Nacos checks
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Where Nacos has a service of which `discovery_args` says nothing.
const (
	NacosNamespace = "public"
	NacosGroup     = "DEFAULT_GROUP"
)

// nacos asks Nacos for the healthy instances of a service in a namespace and group, every fetch_interval: its HTTP API
// tells of changes to nobody who waits.
type nacos struct {
	web            *web
	settings       *fetching
	access, secret string
	// sessions are by the server, which may have a user of its own.
	sessions map[*url.URL]*session
}

// newNacos reads APISIX's `discovery.nacos`. The name and password in a server's URL are for its login.
func newNacos(settings json.RawMessage) (Source, error) {
	s := struct {
		*fetching
		Access string `json:"access_key"`
		Secret string `json:"secret_key"`
	}{fetching: defaultFetching("/nacos/v1/")}
	if err := read(settings, &s); err != nil {
		return nil, err
	}
	w, err := s.open()
	if err != nil {
		return nil, err
	}
	n := &nacos{web: w, settings: s.fetching, access: s.Access, secret: s.Secret, sessions: make(map[*url.URL]*session)}
	for _, server := range w.servers {
		own := &session{web: w, server: server}
		if user := server.User; user != nil {
			own.username = user.Username()
			own.password, _ = user.Password()
			server.User = nil
		}
		n.sessions[server] = own
	}
	return n, nil
}

// Watch implements Source. `discovery_args` may have namespace_id and group_name.
func (n *nacos) Watch(ctx context.Context, q Query, report func([]Node)) error {
	return poll(ctx, report, func(ctx context.Context) (nodes []Node, good time.Duration, err error) {
		err = n.web.each(ctx, func(server *url.URL) (err error) {
			nodes, err = n.list(ctx, n.sessions[server], q)
			return err
		})
		return nodes, n.settings.FetchInterval.duration(), err
	})
}

// list asks one server. A token that it takes no more is replaced by another once.
func (n *nacos) list(ctx context.Context, s *session, q Query) ([]Node, error) {
	for again := false; ; again = true {
		token, err := s.open(ctx)
		if err != nil {
			return nil, err
		}
		question := request{path: "/ns/instance/list", query: n.query(q, token)}
		var answer struct {
			Hosts []nacosHost `json:"hosts"`
		}
		_, err = n.web.ask(ctx, s.server, question, &answer)
		if err == nil {
			return nodesOfNacos(answer.Hosts, n.settings.Weight), nil
		}
		refused := new(statusError)
		if again || token == "" || !errors.As(err, &refused) ||
			refused.status != http.StatusForbidden && refused.status != http.StatusUnauthorized {
			return nil, err
		}
		s.forget(token)
	}
}

func (n *nacos) query(q Query, token string) url.Values {
	group := q.Arg("group_name", NacosGroup)
	query := url.Values{
		"healthyOnly": {"true"}, "serviceName": {q.Name}, "namespaceId": {q.Arg("namespace_id", NacosNamespace)}, "groupName": {group},
	}
	if n.access != "" && n.secret != "" {
		signed := strconv.FormatInt(time.Now().UnixMilli(), 10) + "@@" + group + "@@" + q.Name
		mac := hmac.New(sha1.New, []byte(n.secret))
		mac.Write([]byte(signed))
		query.Set("ak", n.access)
		query.Set("data", signed)
		query.Set("signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	if token != "" {
		query.Set("accessToken", token)
	}
	return query
}

type nacosHost struct {
	IP       string   `json:"ip"`
	Port     int      `json:"port"`
	Weight   *float64 `json:"weight"`
	Healthy  *bool    `json:"healthy"`
	Enabled  *bool    `json:"enabled"`
	Metadata struct {
		GRPCPort json.RawMessage `json:"gRPC_port"`
	} `json:"metadata"`
}

// nacosFraction is what Nacos's weights are multiplied with when any of a service has a fraction.
const nacosFraction = 100

// nodesOfNacos makes Nacos's weights whole numbers of the same proportions.
func nodesOfNacos(hosts []nacosHost, weight int) []Node {
	scale := 1.0
	for i := range hosts {
		if w := hosts[i].Weight; w != nil && *w != math.Trunc(*w) {
			scale = nacosFraction
		}
	}
	var nodes []Node
	for i := range hosts {
		h := &hosts[i]
		if h.Healthy != nil && !*h.Healthy || h.Enabled != nil && !*h.Enabled {
			continue
		}
		node := Node{Host: h.IP, Port: h.Port, Weight: int(float64(weight) * scale)}
		if h.Weight != nil {
			node.Weight = int(math.Round(min(*h.Weight, 1<<20) * scale))
		}
		if port, err := strconv.ParseUint(unquoted(h.Metadata.GRPCPort), 10, 16); err == nil {
			node.GRPCPort = int(port)
		}
		nodes = append(nodes, node)
	}
	return nodes
}

// session is who is logged in at one server. It is safe for concurrent use.
type session struct {
	web                *web
	server             *url.URL
	username, password string

	// mu guards the rest. It is held while somebody logs in: the others use what comes of it.
	mu      sync.Mutex
	token   string
	expires time.Time
}

// open returns a token that is still good for a while, or "" where there is nobody to log in.
func (s *session) open(ctx context.Context) (token string, err error) {
	if s.username == "" {
		return "", nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != "" && time.Now().Before(s.expires) {
		return s.token, nil
	}
	var answer struct {
		Token string  `json:"accessToken"`
		TTL   seconds `json:"tokenTtl"`
	}
	// The password is in the body: servers log what is in a URL.
	_, err = s.web.ask(ctx, s.server, request{
		method: http.MethodPost, path: "/auth/login", body: url.Values{"username": {s.username}, "password": {s.password}},
	}, &answer)
	if err == nil && answer.Token == "" {
		err = errors.New(s.server.Host + " answers a login without an accessToken")
	}
	if err != nil {
		return "", err
	}
	s.token, s.expires = answer.Token, time.Now().Add(answer.TTL.duration()/2)
	return s.token, nil
}

// forget has the next one log in, unless somebody has since.
func (s *session) forget(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == token {
		s.token = ""
	}
}
