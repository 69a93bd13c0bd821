// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// fetching are the settings that APISIX's eureka and nacos share.
type fetching struct {
	Host          texts   `json:"host"`
	Prefix        string  `json:"prefix"`
	FetchInterval seconds `json:"fetch_interval"`
	Weight        int     `json:"weight"`
	Timeout       struct {
		Connect millis `json:"connect"`
		Send    millis `json:"send"`
		Read    millis `json:"read"`
	} `json:"timeout"`
}

func defaultFetching(prefix string) *fetching {
	s := &fetching{Prefix: prefix, FetchInterval: 30, Weight: 100}
	s.Timeout.Connect, s.Timeout.Send, s.Timeout.Read = 2000, 2000, 5000
	return s
}

func (s *fetching) open() (*web, error) {
	if s.Weight < 0 || s.FetchInterval <= 0 {
		return nil, errors.New("fetch_interval is positive, and weight not negative")
	}
	prefix := strings.Trim(s.Prefix, "/")
	if prefix != "" {
		prefix = "/" + prefix
	}
	t := &s.Timeout
	return newWeb(s.Host, prefix, t.Connect.duration(), (t.Connect + t.Send + t.Read).duration())
}

// eureka asks Eureka for the instances of an application every fetch_interval: there is nothing to wait for at a server.
type eureka struct {
	web      *web
	settings *fetching
}

// newEureka reads APISIX's `discovery.eureka`. TLS servers have to be trusted, where APISIX takes any.
func newEureka(settings json.RawMessage) (Source, error) {
	s := defaultFetching("")
	if err := read(settings, s); err != nil {
		return nil, err
	}
	w, err := s.open()
	if err != nil {
		return nil, err
	}
	return &eureka{w, s}, nil
}

// instance is one of Eureka's, whose numbers and switches may be texts.
type instance struct {
	IPAddr     string `json:"ipAddr"`
	Status     string `json:"status"`
	Overridden string `json:"overriddenstatus"`
	Port       door   `json:"port"`
	SecurePort door   `json:"securePort"`
	Metadata   struct {
		Weight json.RawMessage `json:"weight"`
	} `json:"metadata"`
}

// door is one port of an instance.
type door struct {
	Number  json.RawMessage `json:"$"`
	Enabled json.RawMessage `json:"@enabled"`
}

// unquoted is the text of a JSON number, switch or plain string.
func unquoted(raw json.RawMessage) string { return string(bytes.Trim(raw, `" `)) }

func (d door) port() int {
	if unquoted(d.Enabled) != "true" {
		return 0
	}
	port, _ := strconv.Atoi(unquoted(d.Number))
	return port
}

// instances are those of an application; one alone may stand without brackets.
type instances []instance

func (i *instances) UnmarshalJSON(raw []byte) error {
	if raw = bytes.TrimSpace(raw); len(raw) > 0 && raw[0] == '{' {
		*i = make(instances, 1)
		return json.Unmarshal(raw, &(*i)[0])
	}
	return json.Unmarshal(raw, (*[]instance)(i))
}

// Watch implements Source. The name is the application's, as Eureka spells it.
func (e *eureka) Watch(ctx context.Context, q Query, report func([]Node)) error {
	return poll(ctx, report, func(ctx context.Context) ([]Node, time.Duration, error) {
		var answer struct {
			Application struct {
				Instances instances `json:"instance"`
			} `json:"application"`
		}
		_, err := e.web.get(ctx, request{path: "/apps/" + url.PathEscape(q.Name)}, &answer)
		if missing := new(statusError); errors.As(err, &missing) && missing.status == http.StatusNotFound {
			// That is how an application without instances looks.
			err = nil
		}
		var nodes []Node
		for i := range answer.Application.Instances {
			if node, up := answer.Application.Instances[i].node(e.settings.Weight); up {
				nodes = append(nodes, node)
			}
		}
		return nodes, e.settings.FetchInterval.duration(), err
	})
}

// node returns the instance as a node if it is up: at its secure port when that is enabled, as in APISIX.
func (i *instance) node(weight int) (Node, bool) {
	status := i.Status
	if i.Overridden != "" && i.Overridden != "UNKNOWN" {
		status = i.Overridden
	}
	port := i.Port.port()
	if secure := i.SecurePort.port(); secure != 0 {
		port = secure
	}
	if _, err := netip.ParseAddr(i.IPAddr); err != nil || status != "UP" || port == 0 {
		return Node{}, false
	}
	if own, err := strconv.Atoi(unquoted(i.Metadata.Weight)); err == nil {
		weight = own
	}
	return Node{Host: i.IPAddr, Port: port, Weight: weight}, true
}
