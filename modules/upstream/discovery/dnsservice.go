// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// dnsServices finds services in DNS: those of SRV records, or else the addresses of the name.
type dnsServices struct {
	client *client
	order  []uint16
}

// newDNS reads {"servers": [...], "order": ["SRV", "A", "AAAA"], "resolv_conf": path}, APISIX's `discovery.dns`. Without
// servers those of resolv_conf are asked, which is the system's by default. `last` and `CNAME` in the order are passed
// over: servers follow aliases themselves.
func newDNS(settings json.RawMessage) (Source, error) {
	s := struct {
		Servers texts   `json:"servers"`
		Order   texts   `json:"order"`
		Conf    string  `json:"resolv_conf"`
		Timeout seconds `json:"timeout"`
		Valid   seconds `json:"valid"`
	}{Order: texts{"SRV", "A", "AAAA"}, Conf: resolvConf, Timeout: 5}
	if err := read(settings, &s); err != nil {
		return nil, err
	}
	services := new(dnsServices)
	for _, kind := range s.Order {
		switch kind {
		case "SRV":
			services.order = append(services.order, dns.TypeSRV)
		case "A":
			services.order = append(services.order, dns.TypeA)
		case "AAAA":
			services.order = append(services.order, dns.TypeAAAA)
		case "last", "CNAME":
		default:
			return nil, fmt.Errorf("order: %q is not one of last, SRV, A, AAAA, CNAME", kind)
		}
	}
	if len(services.order) == 0 {
		return nil, errors.New("order: at least one of SRV, A and AAAA is expected")
	}
	var err error
	services.client, err = newClient(s.Servers, s.Conf, s.Timeout.duration(), s.Valid.duration())
	return services, err
}

// Watch implements Source. The name may have a port, for records that have none.
func (d *dnsServices) Watch(ctx context.Context, q Query, report func([]Node)) error {
	name, port := q.Name, 0
	if host, text, err := net.SplitHostPort(q.Name); err == nil {
		number, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return fmt.Errorf("service_name %q: invalid port", q.Name)
		}
		name, port = host, int(number)
	}
	// What is known of the targets of SRV records, so that one that cannot be resolved for a while is not lost.
	targets := make(map[string][]netip.Addr)
	return poll(ctx, report, func(ctx context.Context) (nodes []Node, good time.Duration, err error) {
		for _, kind := range d.order {
			if kind == dns.TypeSRV {
				nodes, good, err = d.records(ctx, name, port, targets)
			} else {
				var addrs []netip.Addr
				addrs, good, err = d.client.addresses(ctx, name, kind)
				nodes = nodesAt(addrs, Node{Port: port, Weight: 1})
			}
			if !errors.Is(err, errNoName) {
				break
			}
		}
		return nodes, good, err
	})
}

// records returns the nodes of SRV records (RFC 2782): the lowest priority is tried first, where an upstream's highest is.
// A record of weight 0 has weight 1, as in APISIX: in the RFC it is one that is picked rarely, and not never.
func (d *dnsServices) records(ctx context.Context, name string, port int, targets map[string][]netip.Addr) ([]Node, time.Duration, error) {
	records, extra, good, err := d.client.ask(ctx, name, dns.TypeSRV)
	if err != nil {
		return nil, 0, err
	}
	var nodes []Node
	failure := error(nil)
	for _, rr := range records {
		srv := rr.(*dns.SRV)
		if srv.Target == "." {
			continue
		}
		addrs := preferred(addrsIn(extra, srv.Target))
		if len(addrs) == 0 {
			var ttl time.Duration
			var err error
			if addrs, ttl, err = d.client.addresses(ctx, srv.Target); err != nil {
				failure = err
				addrs = targets[strings.ToLower(srv.Target)]
			} else {
				good = min(good, ttl)
			}
		}
		targets[strings.ToLower(srv.Target)] = addrs
		like := Node{Port: int(srv.Port), Weight: max(1, int(srv.Weight)), Priority: -int(srv.Priority)}
		if like.Port == 0 {
			like.Port = port
		}
		nodes = append(nodes, nodesAt(addrs, like)...)
	}
	if len(nodes) == 0 && failure != nil {
		return nil, 0, failure
	}
	return nodes, good, nil
}
