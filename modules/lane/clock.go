// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"net/http"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// Tick sets the engine's clock; the driver calls it once for each time it wakes.
func (e *Engine) Tick(clock time.Time) {
	e.clock = clock
	e.now = 1 + int64(clock.Sub(e.began)/time.Second)
}

// date returns the Date field of an answer that has none of its own.
func (e *Engine) date() []byte {
	if now := e.clock.Unix(); now != e.dated || len(e.dateField) == 0 {
		e.dated = now
		e.dateField = append(e.clock.UTC().AppendFormat(append(e.dateField[:0], "Date: "...), http.TimeFormat), "\r\n"...)
	}
	return e.dateField
}

// Sweep ends, every second, what has been waiting too long. The driver calls it when it has given the engine what there
// was when it woke: a loop that was held up does not blame its peers for that.
func (e *Engine) Sweep() {
	now := e.now
	if now == e.swept {
		return
	}
	e.swept = now
	for i := len(e.conns) - 1; i >= 0; i-- {
		if i >= len(e.conns) {
			continue
		}
		switch c := e.conns[i]; {
		case c.deadline != 0 && c.deadline < now:
			e.expire(c)
		case c.state == clientIdle && (e.draining || c.site.closing.Load()) && len(c.in) == 0 && c.unsent() == 0 &&
			(!c.fresh || c.deadline-e.timeouts.Head+newcomerTime < now):
			e.close(c)
		}
	}
}

// newcomerTime is for how many seconds a connection that is to end may still begin with its first request: who has just
// connected cannot know.
const newcomerTime = 5

// seconds rounds a bound up to the coarse clock's unit; a second more is what its coarseness costs.
func seconds(d time.Duration) int64 { return int64((d+time.Second-1)/time.Second) + 1 }

// Of the two connections of an exchange it is always the one that the other waits for whose time runs. timeClient and
// timeNode are called when the connection has made progress, and when what it waits for has changed.

// timeClient sets the deadline of a client in an exchange.
func (e *Engine) timeClient(c *Conn) {
	switch {
	case c.x.node != nil && c.x.node.paused:
		c.deadline = e.now + e.timeouts.Write
	case (c.state == clientCollects || c.state == clientStreams) && !c.blocked(), c.state == clientDrains:
		c.deadline = e.now + e.timeouts.Body
	default:
		c.deadline = 0
	}
}

// timeNode sets the deadline of a node's connection that has the request.
func (e *Engine) timeNode(c *Conn) {
	switch x := c.serves; {
	case c.state == nodeShakes:
		// The time for connecting goes on.
	case c.paused:
		c.deadline = 0
	case c.unsent() > 0:
		c.deadline = e.now + seconds(x.Timeout().Send)
	case x.client.state == clientStreams:
		c.deadline = 0
	default:
		c.deadline = e.now + seconds(x.Timeout().Read)
	}
}

// timeSending sets c's deadline when a part of its output went and another part is left.
func (e *Engine) timeSending(c *Conn) {
	switch {
	case c.serves != nil:
		e.timeNode(c)
	case c.isNode():
	case c.x != nil:
		e.timeClient(c)
	case c.state == clientLingers || c.scan == (scanner{}):
		c.deadline = e.now + e.timeouts.Write
	}
}

// expire ends what has been waiting too long.
func (e *Engine) expire(c *Conn) {
	c.deadline = 0
	switch c.state {
	case clientIdle:
		if c.held {
			return
		}
		if len(c.in) == 0 || c.unsent() > 0 {
			e.close(c)
			return
		}
		e.refuse(c, errHeadTimeout)
	case clientCollects, clientStreams:
		e.refuseBody(c.x, errBodyTimeout)
	case clientWaits, clientDrains, clientLingers:
		e.abandon(c)
	case nodeConnects, nodeShakes, nodeHead, nodeBody:
		e.nodeFailed(c, gateway.FailedTimeout)
	case nodeIdle:
		e.close(c)
	}
}
