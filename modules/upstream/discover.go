// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/andogate/ando/modules/upstream/discovery"
)

func (s *Surroundings) certificate(id string) (*tls.Certificate, error) {
	if s.Certificate == nil {
		return nil, errors.New("certificates cannot be referred to from here: put the pair into tls.client_cert and tls.client_key")
	}
	return s.Certificate(id)
}

// entries returns the nodes of a config as far as they are known, names replaced by their addresses. unfound says why some
// are not known. err is about a config that should not be stored.
func (s *Surroundings) entries(c *config) (entries []entry, unfound, err error) {
	entries, err = parseNodes(c.Nodes)
	if err != nil {
		return nil, nil, err
	}
	if c.ServiceName != "" {
		entries, unfound, err = s.service(c)
		if err != nil || unfound != nil {
			return nil, unfound, err
		}
	}
	if s.Discover == nil {
		return entries, nil, nil
	}
	found, shares := make([]entry, 0, len(entries)), make([]int, 0, len(entries))
	for _, e := range entries {
		if !isName(e.Host) {
			found, shares = append(found, e), append(shares, 1)
			continue
		}
		nodes, err := s.Discover(nameQuery(e.Host))
		switch {
		case errors.Is(err, discovery.ErrUnknown):
			found, shares = append(found, e), append(shares, 1)
		case err != nil:
			unfound = fmt.Errorf("no valid upstream node: %s: %w", e.Host, err)
		}
		for _, node := range nodes {
			at := e
			at.Host, at.name = node.Host, e.Host
			found, shares = append(found, at), append(shares, len(nodes))
		}
	}
	shareWeights(found, shares)
	return found, unfound, nil
}

// maxScale bounds what weights are multiplied with, since the ring of chash grows with them.
const maxScale = 60

// shareWeights has the addresses of a name share its weight: each entry is one of shares[i] that have its weight together.
// All weights are scaled so that they stay whole. With names of so many addresses that the scale would be above maxScale
// they are rounded, but not to 0.
func shareWeights(entries []entry, shares []int) {
	scale := 1
	for _, n := range shares {
		if scale = lcm(scale, n); scale > maxScale {
			scale = 1
			break
		}
	}
	for i := range entries {
		e, n := &entries[i], integer(shares[i])
		if e.Weight > 0 {
			e.Weight = max((e.Weight*integer(scale)+n/2)/n, 1)
		}
	}
}

func lcm(a, b int) int {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x * b
}

// service returns the nodes of the config's service.
func (s *Surroundings) service(c *config) (entries []entry, unfound, err error) {
	unfound = fmt.Errorf("service %q of discovery_type %q", c.ServiceName, c.DiscoveryType)
	if s.Discover == nil {
		return nil, fmt.Errorf("%w: service discovery is not available here", unfound), nil
	}
	nodes, failure := s.Discover(discovery.NewQuery(c.DiscoveryType, c.ServiceName, c.DiscoveryArgs))
	if unknown := new(discovery.UnknownTypeError); errors.As(failure, &unknown) {
		return nil, nil, refuse(unknown.Error())
	}
	if failure != nil {
		return nil, fmt.Errorf("%w: %w", unfound, failure), nil
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%w: the registry has no nodes", unfound), nil
	}
	for _, node := range nodes {
		if node.GRPCPort != 0 && (c.Scheme == "grpc" || c.Scheme == "grpcs") {
			node.Port = node.GRPCPort
		}
		entries = append(entries, entry{
			Host: node.Host, Port: integer(node.Port), Weight: integer(node.Weight), Priority: integer(node.Priority),
		})
	}
	return entries, nil, nil
}

func isName(host string) bool {
	_, err := netip.ParseAddr(host)
	return err != nil
}

// nameQuery asks for the addresses of a name.
func nameQuery(host string) discovery.Query {
	return discovery.Query{Type: discovery.Names, Name: strings.ToLower(strings.TrimSuffix(host, "."))}
}

// Queries lists what Compile would ask discovery for, but for names that only a registry tells. A config that cannot be
// read asks for nothing.
func Queries(raw json.RawMessage) (queries []discovery.Query) {
	var c config
	if json.Unmarshal(raw, &c) != nil {
		return nil
	}
	around := Surroundings{Discover: func(q discovery.Query) ([]discovery.Node, error) {
		queries = append(queries, q)
		return nil, discovery.ErrUnknown
	}}
	_, _, _ = around.entries(&c)
	return queries
}
