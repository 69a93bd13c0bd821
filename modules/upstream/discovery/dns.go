// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// client asks DNS servers. It is immutable.
type client struct {
	// servers are asked in turn, until one answers.
	servers  []string
	udp, tcp *dns.Client
	// conf has the search list; its servers are not asked.
	conf *dns.ClientConfig
	// floor is the shortest time for which an answer is good, whatever its TTL; valid replaces the TTL unless it is 0.
	floor, valid time.Duration
}

// The limits of how long an answer is good: a TTL of 0 is not asked for with each answer, and one of a year is doubted.
const (
	minTTL = time.Second
	maxTTL = time.Hour
)

// resolvConf is where the system says which servers there are.
const resolvConf = "/etc/resolv.conf"

// newClient returns the client of servers, each an address with or without a port; none are the system's.
func newClient(servers []string, conf string, timeout, valid time.Duration) (*client, error) {
	if timeout <= 0 || valid < 0 {
		return nil, errors.New("times are positive numbers of seconds")
	}
	c := &client{
		udp: &dns.Client{Net: "udp", Timeout: timeout}, tcp: &dns.Client{Net: "tcp", Timeout: timeout},
		floor: minTTL, valid: valid,
	}
	var err error
	if c.conf, err = dns.ClientConfigFromFile(conf); err != nil {
		// Without it there is no search list, and that is all when servers are given.
		c.conf = &dns.ClientConfig{Ndots: 1, Port: "53"}
	}
	if len(servers) == 0 {
		servers = c.conf.Servers
	}
	for _, text := range servers {
		if addr, err := netip.ParseAddr(text); err == nil {
			c.servers = append(c.servers, net.JoinHostPort(addr.String(), c.conf.Port))
			continue
		}
		host, port, err := net.SplitHostPort(text)
		if err != nil || host == "" || port == "" {
			if strings.ContainsAny(text, ":[] ") || text == "" {
				return nil, fmt.Errorf("server %q is neither an address nor address:port", text)
			}
			host, port = text, "53"
		}
		c.servers = append(c.servers, net.JoinHostPort(host, port))
	}
	return c, nil
}

// errNoName says that a server knows that there is no such record.
var errNoName = errors.New("no such name")

// ask returns the records of one type that a name has, with the aliases to them, and how long they are good. Without any
// the error is errNoName.
func (c *client) ask(ctx context.Context, name string, kind uint16) (records []dns.RR, extra []dns.RR, good time.Duration, err error) {
	if len(c.servers) == 0 {
		return nil, nil, 0, errors.New("no DNS server is known")
	}
	failure := error(nil)
	for _, full := range c.conf.NameList(name) {
		reply, err := c.exchange(ctx, full, kind)
		switch {
		case errors.Is(err, errNoName):
			continue
		case err != nil:
			failure = err
			continue
		}
		good := maxTTL
		for _, rr := range reply.Answer {
			if rr.Header().Rrtype == kind {
				records = append(records, rr)
			}
			good = min(good, time.Duration(rr.Header().Ttl)*time.Second)
		}
		if len(records) == 0 {
			continue
		}
		if c.valid > 0 {
			good = c.valid
		}
		return records, reply.Extra, max(good, c.floor), nil
	}
	if failure == nil {
		failure = errNoName
	}
	return nil, nil, 0, fmt.Errorf("%s %s: %w", dns.TypeToString[kind], name, failure)
}

func (c *client) exchange(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	question := new(dns.Msg)
	question.SetQuestion(name, kind)
	question.SetEdns0(1232, false)
	failure := error(nil)
	for _, server := range c.servers {
		reply, _, err := c.udp.ExchangeContext(ctx, question, server)
		if err == nil && reply.Truncated {
			reply, _, err = c.tcp.ExchangeContext(ctx, question, server)
		}
		switch {
		case err != nil:
			failure = err
		case reply.Rcode == dns.RcodeNameError:
			return nil, errNoName
		case reply.Rcode != dns.RcodeSuccess:
			failure = fmt.Errorf("server %s answers %s", server, dns.RcodeToString[reply.Rcode])
		default:
			return reply, nil
		}
	}
	return nil, failure
}

// addresses returns the IPv4 addresses of a name, or the IPv6 ones when it has no others, as APISIX does.
func (c *client) addresses(ctx context.Context, name string, order ...uint16) (addrs []netip.Addr, good time.Duration, err error) {
	if len(order) == 0 {
		order = []uint16{dns.TypeA, dns.TypeAAAA}
	}
	for _, kind := range order {
		var records []dns.RR
		records, _, good, err = c.ask(ctx, name, kind)
		if errors.Is(err, errNoName) {
			continue
		}
		return addrsIn(records, ""), good, err
	}
	return nil, 0, err
}

// addrsIn returns the addresses among records, of one name unless that is empty.
func addrsIn(records []dns.RR, name string) (addrs []netip.Addr) {
	for _, rr := range records {
		if name != "" && !strings.EqualFold(rr.Header().Name, name) {
			continue
		}
		var addr netip.Addr
		switch rr := rr.(type) {
		case *dns.A:
			addr, _ = netip.AddrFromSlice(rr.A)
		case *dns.AAAA:
			addr, _ = netip.AddrFromSlice(rr.AAAA)
		}
		if addr.IsValid() {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}

// nodesAt makes a node of each address.
func nodesAt(addrs []netip.Addr, like Node) []Node {
	nodes := make([]Node, len(addrs))
	for i, addr := range addrs {
		nodes[i] = like
		nodes[i].Host = addr.String()
	}
	return nodes
}
