// SPDX-License-Identifier: Apache-2.0

package lane

// holdResponse begins to read a response that is answered when all of it has come. rest is what came behind its head.
func (e *Engine) holdResponse(x *exchange, c *Conn, rest []byte) (left []byte, more bool) {
	x.held = true
	if c.head.Body.Kind == Empty {
		e.nodeDone(x, c, rest)
		return nil, true
	}
	c.state = nodeBody
	return rest, false
}

// holdPart keeps a piece of a response that is held. It returns false when that was too much, and the exchange is over.
func (e *Engine) holdPart(x *exchange, c *Conn, data []byte) bool {
	if int64(len(x.Response.Body)+len(data)) <= x.heldLimit {
		x.Response.Body = append(x.Response.Body, data...)
		return true
	}
	c.serves = nil
	e.close(c)
	e.breakHeld(x, "the response is too long")
	return false
}

// breakHeld answers in the place of a response that is held. The connection to the node is gone.
func (e *Engine) breakHeld(x *exchange, reason string) {
	x.node = nil
	client := x.client
	x.BreakHeld(reason)
	e.sendReply(x)
	e.again(client)
}
