// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// consulSettings are APISIX's `discovery.consul` and what `discovery.consul_kv` has of it.
type consulSettings struct {
	Servers texts  `json:"servers"`
	Token   string `json:"token"`
	Timeout struct {
		Connect millis  `json:"connect"`
		Read    millis  `json:"read"`
		Wait    seconds `json:"wait"`
	} `json:"timeout"`
	Weight        int     `json:"weight"`
	FetchInterval seconds `json:"fetch_interval"`
	KeepAlive     bool    `json:"keepalive"`
	Default       *struct {
		Host string `json:"host"`
		Port int    `json:"port"`
		// Metadata has no effect, as in APISIX, whose default service has the weight of the others.
		Metadata json.RawMessage `json:"metadata"`
	} `json:"default_service"`
}

// consul asks Consul. With keepalive a question waits at the server for something new; otherwise it is asked again every
// fetch_interval.
type consul struct {
	web      *web
	settings *consulSettings
}

func defaultConsul() *consulSettings {
	s := &consulSettings{Weight: 1, FetchInterval: 3, KeepAlive: true}
	s.Timeout.Connect, s.Timeout.Read, s.Timeout.Wait = 2000, 2000, 60
	return s
}

func (s *consulSettings) open() (*consul, error) {
	if s.Weight < 1 || s.FetchInterval <= 0 || s.Timeout.Wait <= 0 {
		return nil, errors.New("weight, fetch_interval and timeout.wait are positive")
	}
	w, err := newWeb(s.Servers, "/v1", s.Timeout.Connect.duration(), s.Timeout.Read.duration())
	if err != nil {
		return nil, err
	}
	if s.Token != "" {
		w.header.Set("X-Consul-Token", s.Token)
	}
	return &consul{w, s}, nil
}

// newConsul reads APISIX's `discovery.consul`.
func newConsul(settings json.RawMessage) (Source, error) {
	s := struct {
		*consulSettings
		Skip texts `json:"skip_services"`
	}{consulSettings: defaultConsul()}
	if err := read(settings, &s); err != nil {
		return nil, err
	}
	c, err := s.open()
	if err != nil {
		return nil, err
	}
	return consulServices{c}, nil
}

// consulServices are Consul's services, of which the instances whose checks pass are nodes. `skip_services` means nothing:
// only services that upstreams name are looked at.
type consulServices struct{ *consul }

// Watch implements Source.
func (c consulServices) Watch(ctx context.Context, q Query, report func([]Node)) error {
	question := request{path: "/health/service/" + url.PathEscape(q.Name), query: url.Values{"passing": {"true"}}}
	return watchConsul(ctx, c.consul, question, func(found []struct {
		Node    struct{ Address string }
		Service struct {
			Address string
			Port    int
			Weights struct{ Passing int }
		}
	},
	) {
		nodes := make([]Node, 0, len(found)+1)
		for _, instance := range found {
			node := Node{Host: instance.Service.Address, Port: instance.Service.Port, Weight: c.settings.Weight}
			if node.Host == "" {
				node.Host = instance.Node.Address
			}
			if w := instance.Service.Weights.Passing; w > 1 {
				node.Weight = w
			}
			nodes = append(nodes, node)
		}
		report(c.orDefault(nodes))
	})
}

// orDefault is what serves instead of a service without nodes.
func (c *consul) orDefault(nodes []Node) []Node {
	if d := c.settings.Default; len(nodes) == 0 && d != nil {
		nodes = append(nodes, Node{Host: d.Host, Port: d.Port, Weight: c.settings.Weight})
	}
	return nodes
}

// watchConsul asks a question and asks it again when its answer has changed: Consul's blocking query, whose index goes back
// to 0 when the server's does.
func watchConsul[T any](ctx context.Context, c *consul, question request, tell func(T)) error {
	index := uint64(0)
	for {
		ask := question
		ask.query = url.Values{}
		for name, values := range question.query {
			ask.query[name] = values
		}
		if index > 0 && c.settings.KeepAlive {
			wait := c.settings.Timeout.Wait.duration()
			ask.query.Set("index", strconv.FormatUint(index, 10))
			ask.query.Set("wait", strconv.FormatInt(wait.Milliseconds(), 10)+"ms")
			// The server adds up to a sixteenth, so that not everybody comes back at once.
			ask.waits = wait + wait/16
		}
		var answer T
		header, err := c.web.get(ctx, ask, &answer)
		if missing := new(statusError); errors.As(err, &missing) && missing.status == http.StatusNotFound {
			// No key begins with the prefix: an answer, which does not wait.
			header, err = http.Header{}, nil
		}
		if err != nil {
			return err
		}
		tell(answer)
		next, _ := strconv.ParseUint(header.Get("X-Consul-Index"), 10, 64)
		if next < index {
			next = 0
		}
		index = next
		pauseFor := time.Duration(0)
		if index == 0 || !c.settings.KeepAlive {
			pauseFor = c.settings.FetchInterval.duration()
		}
		if err := pause(ctx, pauseFor); err != nil {
			return err
		}
	}
}
