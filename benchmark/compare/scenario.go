// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// scenario is one shape of load.
type scenario struct {
	name string
	// generator is "load" or "wrk".
	generator   string
	connections int
	// body is the length of answers.
	body int
	tls  bool
	// keyAuth asks for a route that wants a consumer's key.
	keyAuth bool
	// fresh makes a connection for each request.
	fresh bool
	// direct asks the node itself.
	direct bool
	// hosts is how many hosts there are routes for, hostCount when it is 0.
	hosts int
	// log has the peers write access logs.
	log bool
	// slow is how many more clients never come to the end of their heads.
	slow int
	// both lets the peers use the load's processor as well.
	both bool
}

// own reports whether the scenario needs configs of its own.
func (s scenario) own() bool { return s.hosts > 0 || s.log }

// small is the length of an answer where its length is not what is measured.
const small = 27

// groups are the words that bench.sh takes.
var groups = []string{"baseline", "plain", "key-auth", "stress", "bodies", "tls", "newconn", "log", "routes", "slow", "loops", "ramp"}

// scenarios returns those of some groups. No name stands for all.
func scenarios(names []string, connections int) ([]scenario, error) {
	if len(names) == 0 || slices.Contains(names, "all") {
		names = groups
	}
	all := map[string][]scenario{
		"baseline": {
			{name: "baseline", generator: "load", connections: 64, direct: true},
			{name: "baseline-wrk", generator: "wrk", connections: 64, direct: true},
		},
		"plain": {
			{name: "plain-64", generator: "load", connections: 64},
			{name: "plain", generator: "load", connections: connections},
			{name: "plain-wrk", generator: "wrk", connections: connections},
		},
		"key-auth": {{name: "key-auth", generator: "load", connections: connections, keyAuth: true}},
		"stress":   {{name: "stress", generator: "load", connections: 500}},
		"bodies": {
			{name: "body-1k", generator: "load", connections: 64, body: 1 << 10},
			{name: "body-16k", generator: "load", connections: 64, body: 16 << 10},
			{name: "body-1m", generator: "load", connections: 64, body: 1 << 20},
		},
		"tls":     {{name: "tls", generator: "wrk", connections: 64, tls: true}},
		"newconn": {{name: "newconn", generator: "wrk", connections: 64, fresh: true}},
		"log":     {{name: "log", generator: "load", connections: connections, log: true}},
		"routes":  {{name: "routes-10k", generator: "load", connections: connections, hosts: 1000}},
		"slow":    {{name: "slow-heads", generator: "load", connections: connections, slow: 2000}},
		"loops":   {{name: "two-loops", generator: "load", connections: connections, both: true}},
	}
	for _, n := range []int{50, 100, 200, 400, 700, 1000} {
		all["ramp"] = append(all["ramp"], scenario{name: fmt.Sprint("ramp-", n), generator: "load", connections: n})
	}
	var chosen []scenario
	for _, group := range groups {
		if slices.Contains(names, group) {
			chosen = append(chosen, all[group]...)
		}
	}
	for _, name := range names {
		if !slices.Contains(groups, name) {
			return nil, fmt.Errorf("%q is not one of all, %s", name, strings.Join(groups, ", "))
		}
	}
	for i := range chosen {
		if chosen[i].body == 0 {
			chosen[i].body = small
		}
	}
	return chosen, nil
}

func (s scenario) hostCount() int { return cmp.Or(s.hosts, hostCount) }

// settings is what the configs of all peers are made of: the same routes, keys and node for each.
type settings struct {
	// Node is the upstream node's address.
	Node string
	// Each of the Hosts has a route for each of the Prefixes, and one for /auth that asks for one of the Keys.
	Hosts, Prefixes, Keys []string
	// Dir has the certificate, and what the peers write.
	Dir string
	// Certificate and Secret are what is in the files cert.pem and key.pem.
	Certificate, Secret string

	// Log: access logs are written.
	Log bool

	Port, TLSPort int
	// Lane is Ando's.
	Lane string
}

const (
	nodeAddress = "127.0.0.1:18090"
	hostCount   = 10
	prefixCount = 10
	keyCount    = 1000
)

func newSettings(dir string, of scenario) settings {
	s := settings{Node: nodeAddress, Dir: dir, Log: of.log}
	for i := range of.hostCount() {
		s.Hosts = append(s.Hosts, fmt.Sprintf("host%d.example.com", i))
	}
	for i := range prefixCount {
		s.Prefixes = append(s.Prefixes, fmt.Sprintf("/svc%d", i))
	}
	for i := range keyCount {
		s.Keys = append(s.Keys, fmt.Sprintf("key-%d", i))
	}
	return s
}
