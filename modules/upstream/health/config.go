// SPDX-License-Identifier: Apache-2.0

package health

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
)

// Config is a compiled `checks`. It is immutable. The zero value of Passive counts nothing.
type Config struct {
	// Type is what the control API reports: that of the active checks.
	Type    string
	Active  Active
	Passive Passive
}

// Active says how nodes are probed.
type Active struct {
	// Type is http, https or tcp.
	Type string
	// Timeout bounds one probe from dialling to its status line.
	Timeout time.Duration
	// Concurrency is how many nodes of one object are probed at a time.
	Concurrency int
	// Host is the Host field and the name in the TLS handshake; empty is the node's. Port replaces the node's unless 0.
	Host string
	Port int
	// Method, Path, Body and Fields make the request. Fields are lines without their ends.
	Method, Path, Body string
	Fields             []string
	// SkipVerify accepts any certificate.
	SkipVerify bool
	// HealthyInterval is the time from one probe of a healthy node to the next, UnhealthyInterval that of the others.
	HealthyInterval, UnhealthyInterval time.Duration

	judge
}

// Passive says what requests tell of a node.
type Passive struct{ judge }

// judge tells which outcomes count, and how many of each are a change.
type judge struct {
	good, bad                                      statusSet
	successes, httpFailures, tcpFailures, timeouts uint8
}

// statusSet is a set of HTTP statuses below 640.
type statusSet [10]uint64

func (s *statusSet) has(status int) bool {
	return uint(status) < 640 && s[status/64]&(1<<(status%64)) != 0
}

func newStatusSet(statuses []integer) (s statusSet) {
	for _, status := range statuses {
		if status >= 0 && status < 640 {
			s[status/64] |= 1 << (status % 64)
		}
	}
	return s
}

// status returns what a response counts as. Its limit is 0 when it is in neither list, the list of good ones counting
// first.
func (j *judge) status(status int) event {
	switch {
	case j.good.has(status):
		return event{success, j.successes}
	case j.bad.has(status):
		return event{httpFailure, j.httpFailures}
	}
	return event{}
}

type integer int

func (i *integer) UnmarshalJSON(raw []byte) error {
	var number float64
	if err := json.Unmarshal(raw, &number); err != nil {
		return err
	}
	if number != math.Trunc(number) || math.Abs(number) > math.MaxInt32 {
		return fmt.Errorf("%s is not an integer", raw)
	}
	*i = integer(number)
	return nil
}

var (
	activeGood  = []integer{200, 302}
	activeBad   = []integer{429, 404, 500, 501, 502, 503, 504, 505}
	passiveGood = []integer{
		200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308,
	}
	passiveBad = []integer{429, 500, 503}
)

// rules is one half of the active or passive checks. Decoding leaves what is absent as it is, so defaults are filled in
// before; but for the statuses, whose array would be written into.
type rules struct {
	Interval     integer   `json:"interval"`
	HTTPStatuses []integer `json:"http_statuses"`
	Successes    integer   `json:"successes"`
	HTTPFailures integer   `json:"http_failures"`
	TCPFailures  integer   `json:"tcp_failures"`
	Timeouts     integer   `json:"timeouts"`
}

func (r *rules) statuses(without []integer) statusSet {
	if r.HTTPStatuses == nil {
		return newStatusSet(without)
	}
	return newStatusSet(r.HTTPStatuses)
}

type activeDocument struct {
	Type        string   `json:"type"`
	Timeout     float64  `json:"timeout"`
	Concurrency integer  `json:"concurrency"`
	Host        string   `json:"host"`
	Port        integer  `json:"port"`
	Method      string   `json:"http_method"`
	Path        string   `json:"http_path"`
	Body        string   `json:"http_req_body"`
	Verify      bool     `json:"https_verify_certificate"`
	Fields      []string `json:"req_headers"`
	Healthy     rules    `json:"healthy"`
	Unhealthy   rules    `json:"unhealthy"`
}

type passiveDocument struct {
	Type      string `json:"type"`
	Healthy   rules  `json:"healthy"`
	Unhealthy rules  `json:"unhealthy"`
}

// Parse compiles the `checks` of an upstream, which satisfies the schema and lacks its defaults. It returns nil for an
// absent one.
func Parse(raw json.RawMessage) (*Config, error) {
	var halves struct {
		Active  json.RawMessage `json:"active"`
		Passive json.RawMessage `json:"passive"`
	}
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &halves); err != nil {
		return nil, fmt.Errorf("checks: %w", err)
	}
	c := &Config{Type: "http"}
	if len(halves.Passive) > 0 {
		d := passiveDocument{
			Type: "http", Healthy: rules{Successes: 5}, Unhealthy: rules{HTTPFailures: 5, TCPFailures: 2, Timeouts: 7},
		}
		if err := json.Unmarshal(halves.Passive, &d); err != nil {
			return nil, fmt.Errorf("checks: passive: %w", err)
		}
		c.Type = d.Type
		c.Passive.judge = newJudge(&d.Healthy, &d.Unhealthy, passiveGood, passiveBad)
	}
	if len(halves.Active) > 0 {
		if err := c.Active.parse(halves.Active); err != nil {
			return nil, fmt.Errorf("checks: active: %w", err)
		}
		c.Type = c.Active.Type
	}
	return c, nil
}

func (a *Active) parse(raw json.RawMessage) error {
	d := activeDocument{
		Type: "http", Timeout: 1, Concurrency: 10, Method: "GET", Path: "/", Verify: true,
		Healthy:   rules{Interval: 1, Successes: 2},
		Unhealthy: rules{Interval: 1, HTTPFailures: 5, TCPFailures: 2, Timeouts: 3},
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return err
	}
	*a = Active{
		Type: d.Type, Timeout: seconds(d.Timeout), Concurrency: max(1, int(d.Concurrency)), Host: d.Host, Port: int(d.Port),
		Method: d.Method, Path: d.Path, Body: d.Body, Fields: d.Fields, SkipVerify: !d.Verify,
		HealthyInterval:   seconds(float64(max(1, d.Healthy.Interval))),
		UnhealthyInterval: seconds(float64(max(1, d.Unhealthy.Interval))),
		judge:             newJudge(&d.Healthy, &d.Unhealthy, activeGood, activeBad),
	}
	if a.Timeout <= 0 {
		a.Timeout = time.Second
	}
	return a.check()
}

func seconds(n float64) time.Duration {
	return time.Duration(min(n*float64(time.Second), math.MaxInt64/2))
}

func newJudge(healthy, unhealthy *rules, good, bad []integer) judge {
	return judge{
		good: healthy.statuses(good), bad: unhealthy.statuses(bad),
		successes: limit(healthy.Successes), httpFailures: limit(unhealthy.HTTPFailures),
		tcpFailures: limit(unhealthy.TCPFailures), timeouts: limit(unhealthy.Timeouts),
	}
}

func limit(n integer) uint8 { return uint8(max(0, min(n, 254))) }

// check refuses what would make another request of a probe than the config says.
func (a *Active) check() error {
	if strings.ContainsAny(a.Path, " \r\n") {
		return fmt.Errorf("http_path %q is not a path", a.Path)
	}
	for _, field := range a.Fields {
		name, _, ok := strings.Cut(field, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") || strings.ContainsAny(field, "\r\n") {
			return fmt.Errorf("req_headers: %q is not a line like \"Name: value\"", field)
		}
	}
	return nil
}
