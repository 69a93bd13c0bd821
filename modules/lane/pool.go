// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// poolKey names the connections that are interchangeable.
type poolKey struct{ addr string }

// pool holds the idle connections of one loop to one address, the most recently used last.
type pool struct {
	idle []*Conn
	// addr is where host:port leads; valid until expires. A name is looked up again on the first use after that, while the
	// old address still serves.
	addr      netip.AddrPort
	expires   time.Time
	resolving bool
	waiting   []waiter
}

// waiter is an exchange that waits for an address. The exchange may end and be used again before it comes, which its
// client tells.
type waiter struct {
	x      *exchange
	client *Conn
}

// resolveEvery is how long a node's address is used before its name is looked up again.
const resolveEvery = 10 * time.Second

func (e *Engine) poolOf(node *gateway.Node) *pool {
	key := poolKey{node.Addr}
	p := e.pools[key]
	if p == nil {
		p = new(pool)
		if addr, err := netip.ParseAddr(node.Host); err == nil {
			p.addr, p.expires = netip.AddrPortFrom(addr, uint16(node.Port)), time.Unix(1<<40, 0)
		}
		e.pools[key] = p
	}
	return p
}

// resolve looks the node's name up on a goroutine and then goes on with who waits for it.
func (e *Engine) resolve(p *pool, node *gateway.Node) {
	p.resolving = true
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", node.Host)
		e.driver.Post(func() {
			p.resolving = false
			p.expires = e.clock.Add(resolveEvery)
			if err == nil && len(addrs) > 0 {
				p.addr = netip.AddrPortFrom(addrs[0].Unmap(), uint16(node.Port))
			}
			waiting := p.waiting
			p.waiting = nil
			for _, w := range waiting {
				switch {
				case w.client.gone || w.client.x != w.x:
				case p.addr.IsValid():
					e.dial(w.x, p)
				default:
					e.attemptFailed(w.x, gateway.FailedConnect, true)
				}
			}
		})
	}()
}

// take returns an idle connection to the target that has not been closed by the node as far as is known, or nil.
func (p *pool) take(to *target) *Conn {
	for i := len(p.idle) - 1; i >= 0; i-- {
		if c := p.idle[i]; c.target == *to {
			p.idle = slices.Delete(p.idle, i, i+1)
			return c
		}
	}
	return nil
}

func (p *pool) remove(c *Conn) {
	for i, idle := range p.idle {
		if idle == c {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return
		}
	}
}

// leaveNode lets go of a node's connection whose response is over. surplus is what came behind it.
func (e *Engine) leaveNode(x *exchange, c *Conn, surplus []byte) {
	x.node, c.serves = nil, nil
	keep := x.Forward.Upstream.KeepAlive
	if c.head.Reusable && x.bodyDone && len(surplus) == 0 && !c.eof && !e.draining && c.unsent() == 0 &&
		e.makeRoom(c, keep.Size) && (keep.Requests == 0 || c.uses < keep.Requests) {
		c.state, c.fresh = nodeIdle, false
		c.in = nil
		e.dropOutput(c)
		c.deadline = e.now + seconds(keep.IdleTimeout)
		c.pool.idle = append(c.pool.idle, c)
		e.resume(c)
	} else {
		e.close(c)
	}
}
