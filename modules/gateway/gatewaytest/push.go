// SPDX-License-Identifier: Apache-2.0

package gatewaytest

import (
	"context"
	"net/netip"
	"sync"

	"github.com/andogate/ando/modules/gateway"
)

// Send is one thing that a Machine wants done. Sends are done in order, each connection's in turn.
type Send struct {
	// Conn is 0 for the client; connections to nodes are numbered from 1 on.
	Conn int
	// Dial opens Conn to this address; what follows for it waits until it is open.
	Dial  string
	Bytes []byte
	// Close closes Conn once what was sent before is gone.
	Close bool
}

// Machine is a wire without I/O: bytes go in, sends come out, and no call waits for anything. It serves one client
// connection with HTTP/1.1, keep-alive and pipelining, and is the proof that an exchange needs no net/http. It is a toy:
// request bodies have a Content-Length, nodes are dialled for every attempt, and nothing is bounded but the head.
//
// Its methods are called by one goroutine at a time. After wake was called, from whatever goroutine, Wake is due.
type Machine struct {
	gateway     *gateway.Gateway
	peer, local netip.AddrPort
	wake        func()

	x     gateway.Exchange
	phase phase
	out   []Send
	conns int

	// in holds the client's bytes that are not used yet. The exchange's strings point into head.
	in, head []byte
	// body is what came of the request body; left is how much is still to come.
	body []byte
	left int64
	// closing says that the connection ends with the response; gone that the client has.
	closing, gone bool

	ctx    context.Context
	cancel context.CancelFunc
	node   nodeSide

	// limit is how much of the body is read before whoever asked for it hears of it: waiter, or else Next.
	limit  int64
	waiter chan<- bodyRead

	mu    sync.Mutex
	inbox []func()
}

type bodyRead struct {
	body []byte
	err  error
}

// phase is what the client's bytes are for.
type phase uint8

const (
	phaseHead phase = iota
	// phaseCollect: the body is read for a hook.
	phaseCollect
	// phaseParked: a goroutine has the exchange. Bytes wait.
	phaseParked
	// phaseForward: the body goes to the node.
	phaseForward
	// phaseDrain: the response is sent; the rest of the body is of no use.
	phaseDrain
	phaseClosed
)

// maxHead bounds a head, the client's and the node's.
const maxHead = 64 << 10

// NewMachine returns a machine for a connection between these two addresses.
func NewMachine(g *gateway.Gateway, peer, local netip.AddrPort, wake func()) *Machine {
	return &Machine{gateway: g, peer: peer, local: local, wake: wake}
}

// Feed takes bytes that came on a connection. They may be used again when it returns.
func (m *Machine) Feed(conn int, bytes []byte) []Send {
	m.out = nil
	switch {
	case conn == 0:
		m.in = append(m.in, bytes...)
	case conn == m.node.conn:
		m.node.in = append(m.node.in, bytes...)
		m.fromNode()
	}
	m.fromClient()
	return m.out
}

// Closed takes note that a connection has ended, or, with dialled false, never began.
func (m *Machine) Closed(conn int, dialled bool) []Send {
	m.out = nil
	switch {
	case conn == 0:
		m.clientGone()
	case conn == m.node.conn:
		m.nodeGone(dialled)
	}
	m.fromClient()
	return m.out
}

// Wake does what goroutines have left for the machine.
func (m *Machine) Wake() []Send {
	m.out = nil
	m.mu.Lock()
	inbox := m.inbox
	m.inbox = nil
	m.mu.Unlock()
	for _, do := range inbox {
		do()
	}
	m.fromClient()
	return m.out
}

// Busy says that a goroutine has the exchange, so that Wake will be due.
func (m *Machine) Busy() bool { return m.phase == phaseParked || m.waiter != nil }

func (m *Machine) post(do func()) {
	m.mu.Lock()
	m.inbox = append(m.inbox, do)
	m.mu.Unlock()
	m.wake()
}

// fromClient uses the client's bytes as far as the phase allows.
func (m *Machine) fromClient() {
	for {
		before, phase := len(m.in), m.phase
		switch m.phase {
		case phaseHead:
			m.readHead()
		case phaseCollect:
			m.collect()
		case phaseForward:
			m.forwardBody()
		case phaseDrain:
			m.takeBody()
			if m.left == 0 {
				m.phase = phaseHead
			}
		case phaseClosed:
			m.in = nil
			return
		case phaseParked:
			return
		}
		if len(m.in) == before && m.phase == phase {
			return
		}
	}
}

// takeBody takes what there is of the request body off the input.
func (m *Machine) takeBody() []byte {
	n := min(int64(len(m.in)), m.left)
	part := m.in[:n]
	m.in, m.left = m.in[n:], m.left-n
	return part
}

// next runs hooks until there is something to do for the wire.
func (m *Machine) next() { m.act(m.x.Next(false)) }

func (m *Machine) act(step gateway.Step) {
	if m.gone {
		m.x.Response.Status = 499
		m.finish()
		return
	}
	switch step {
	case gateway.StepBody:
		m.phase, m.limit = phaseCollect, m.x.BodyLimit()
		m.collect()
	case gateway.StepBlock:
		m.phase = phaseParked
		go func() {
			step := m.x.Next(true)
			m.post(func() { m.act(step) })
		}()
	case gateway.StepForward:
		m.forward()
	case gateway.StepReply:
		m.reply()
	}
}

// collect gathers the request body for whoever asked for it.
func (m *Machine) collect() {
	if int64(len(m.body)) <= m.limit {
		m.body = append(m.body, m.takeBody()...)
	}
	read := bodyRead{body: m.body}
	switch {
	case int64(len(m.body)) > m.limit:
		read = bodyRead{err: gateway.ErrBodyTooLarge}
	case m.left > 0:
		return
	}
	if m.waiter != nil {
		m.phase = phaseParked
		m.waiter <- read
		m.waiter = nil
		return
	}
	m.x.SetBody(read.body, read.err)
	m.next()
}

// Context implements gateway.Wire.
func (m *Machine) Context() context.Context { return m.ctx }

// ReadBody implements gateway.Wire. It is called on the goroutine of a hook that may wait.
func (m *Machine) ReadBody(limit int64) ([]byte, error) {
	answer := make(chan bodyRead, 1)
	m.post(func() {
		if m.gone {
			answer <- bodyRead{err: context.Canceled}
			return
		}
		m.phase, m.limit, m.waiter = phaseCollect, limit, answer
		m.collect()
	})
	read := <-answer
	return read.body, read.err
}

func (m *Machine) clientGone() {
	m.gone = true
	if m.cancel != nil {
		m.cancel()
	}
	switch {
	case m.waiter != nil:
		m.phase = phaseParked
		m.waiter <- bodyRead{err: context.Canceled}
		m.waiter = nil
	case m.phase == phaseCollect || m.phase == phaseForward:
		m.finish()
	}
	if m.phase != phaseParked {
		m.phase = phaseClosed
	}
}

// finish ends the exchange and makes the machine ready for the next request.
func (m *Machine) finish() {
	m.closeNode()
	m.x.Finish()
	m.x.Reset()
	m.cancel()
	// A string that was kept from this exchange reads as garbage from here on.
	for i := range m.head {
		m.head[i] = 0xdb
	}
	m.head, m.body = m.head[:0], nil
	m.phase = phaseDrain
	if m.closing || m.gone {
		m.phase = phaseClosed
		m.out = append(m.out, Send{Close: true})
	}
}

var _ gateway.Wire = (*Machine)(nil)
