// SPDX-License-Identifier: Apache-2.0

package table

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// streamIndex finds stream routes. It is immutable, and made anew when one of them changes: there are few. The nil index is
// empty.
type streamIndex struct {
	// ports has the rules of each port that some rule names, with those for any port; rest are the latter alone.
	ports map[uint16]*streamPort
	rest  streamPort
}

// streamPort has the rules of one port, each list in key order.
type streamPort struct {
	// exact has those for a server name; suffix those for a wildcard by what is behind its asterisk.
	exact, suffix map[string][]*streamRule
	// named are all of these, others those for any name.
	named, others []*streamRule
	// loose says that a wildcard stands for a part of a label.
	loose bool
}

func newStreamIndex(objects *tree[entry]) *streamIndex {
	var rules []*streamRule
	objects.each(func(e *entry) bool {
		if r, ok := e.compiled.(*streamRule); ok && !r.off {
			rules = append(rules, r)
		}
		return true
	})
	if len(rules) == 0 {
		return nil
	}
	index := &streamIndex{ports: make(map[uint16]*streamPort)}
	for _, r := range rules {
		if r.port != 0 && index.ports[r.port] == nil {
			index.ports[r.port] = new(streamPort)
		}
	}
	for _, r := range rules {
		if r.port != 0 {
			index.ports[r.port].add(r)
			continue
		}
		index.rest.add(r)
		for _, port := range index.ports {
			port.add(r)
		}
	}
	return index
}

func (p *streamPort) add(r *streamRule) {
	if r.sni == "" {
		p.others = append(p.others, r)
		return
	}
	p.named = append(p.named, r)
	suffix, wild := strings.CutPrefix(r.sni, "*")
	under, name := &p.exact, r.sni
	if wild {
		under, name = &p.suffix, suffix
		p.loose = p.loose || suffix != "" && suffix[0] != '.'
	}
	if *under == nil {
		*under = make(map[string][]*streamRule)
	}
	(*under)[name] = append((*under)[name], r)
}

func (i *streamIndex) at(port uint16) *streamPort {
	if p := i.ports[port]; p != nil {
		return p
	}
	return &i.rest
}

// find returns the first rule in the documented order: for the exact name, for a wildcard, for any name.
func (p *streamPort) find(local, client netip.Addr, name string) *streamRule {
	if name != "" && len(p.named) > 0 {
		if r := firstAdmitting(p.exact[name], local, client); r != nil {
			return r
		}
		if r := p.findWild(local, client, name); r != nil {
			return r
		}
	}
	return firstAdmitting(p.others, local, client)
}

// findWild looks for wildcards as ssl objects have them: one stands for one label, or for the beginning of the first.
func (p *streamPort) findWild(local, client netip.Addr, name string) *streamRule {
	label := strings.IndexByte(name, '.')
	if label < 0 {
		label = len(name)
	}
	from := label
	if p.loose {
		from = 0
	}
	for ; from <= label && from < len(name); from++ {
		if r := firstAdmitting(p.suffix[name[from:]], local, client); r != nil {
			return r
		}
	}
	return firstAdmitting(p.suffix[""], local, client)
}

func firstAdmitting(rules []*streamRule, local, client netip.Addr) *streamRule {
	for _, r := range rules {
		if r.admits(local, client) {
			return r
		}
	}
	return nil
}

// Stream implements gateway.StreamTable.
func (t *Table) Stream(local, client netip.AddrPort, name string) *gateway.Route {
	if t.streams == nil {
		return nil
	}
	r := t.streams.at(local.Port()).find(local.Addr().Unmap(), client.Addr().Unmap(), serverName(name))
	if r == nil {
		return nil
	}
	return &r.route
}

// StreamsByName implements gateway.StreamTable.
func (t *Table) StreamsByName(local, client netip.AddrPort) bool {
	if t.streams == nil {
		return false
	}
	to, from := local.Addr().Unmap(), client.Addr().Unmap()
	return slices.ContainsFunc(t.streams.at(local.Port()).named, func(r *streamRule) bool { return r.admits(to, from) })
}

var _ gateway.StreamTable = (*Table)(nil)
