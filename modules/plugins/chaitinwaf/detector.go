// SPDX-License-Identifier: Apache-2.0

package chaitinwaf

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"
	"weak"
)

// detector is one node of the firewall: the connections to it, and whether it works. It is safe for concurrent use, and one for
// all metadata that name it.
type detector struct {
	host, network, address string
	pool                   *pool
	breaker                breaker
}

type place struct{ network, address string }

// detectors has those in use; one is dropped, with its connections, some time after the last metadata with it is gone.
var detectors = struct {
	sync.Mutex
	known map[place]weak.Pointer[detector]
}{known: map[place]weak.Pointer[detector]{}}

func detectorFor(host, network, address string) *detector {
	detectors.Lock()
	defer detectors.Unlock()
	at := place{network, address}
	if d := detectors.known[at].Value(); d != nil {
		return d
	}
	for old, pointer := range detectors.known {
		if pointer.Value() == nil {
			delete(detectors.known, old)
		}
	}
	d := &detector{host: host, network: network, address: address, pool: &pool{}}
	runtime.AddCleanup(d, func(p *pool) { p.close() }, d.pool)
	detectors.known[at] = weak.Make(d)
	return d
}

// allows reports whether the detector may be asked.
func (d *detector) allows(now time.Time) bool { return d.breaker.allows(now) }

// ask sends a request to the detector and returns what it says. A connection that was idle may have been closed meanwhile: the
// request goes over a new one then.
func (d *detector) ask(ctx context.Context, o options, request []byte) (*answer, error) {
	c := d.pool.take(time.Now())
	if c != nil {
		if answer, err := d.exchange(ctx, c, o, request); err == nil || !errors.Is(err, errNothing) || ctx.Err() != nil {
			return answer, d.report(ctx, err)
		}
	}
	dialer := net.Dialer{Timeout: duration(o.Connect)}
	raw, err := dialer.DialContext(ctx, d.network, d.address)
	if err != nil {
		return nil, d.report(ctx, fmt.Errorf("failed to connect to t1k server %s: %w", d.address, err))
	}
	answer, err := d.exchange(ctx, &conn{Conn: raw, reader: bufio.NewReader(raw)}, o, request)
	return answer, d.report(ctx, err)
}

// report tells the breaker. That a client has gone says nothing about the detector.
func (d *detector) report(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		d.breaker.report(err == nil, time.Now())
	}
	return err
}

// errNothing says that a connection ended before anything of an answer came.
var errNothing = errors.New("the connection was closed")

// exchange sends a request over a connection, which is the pool's again, or closed, when it returns.
func (d *detector) exchange(ctx context.Context, c *conn, o options, request []byte) (*answer, error) {
	// A deadline in the past ends whatever waits.
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	answer, err := d.talk(c, o, request)
	if !stop() || err != nil {
		_ = c.Close()
		return answer, err
	}
	d.pool.put(c, o.Idle, duration(o.IdleTimeout))
	return answer, nil
}

func (d *detector) talk(c *conn, o options, request []byte) (*answer, error) {
	if err := c.SetWriteDeadline(time.Now().Add(duration(o.Send))); err != nil {
		return nil, fmt.Errorf("%w: %w", errNothing, err)
	}
	if _, err := c.Write(request); err != nil {
		if timedOut(err) {
			return nil, fmt.Errorf("failed to send to t1k server %s: timeout: %w", d.address, err)
		}
		return nil, fmt.Errorf("failed to send to t1k server %s: %w: %w", d.address, errNothing, err)
	}
	if err := c.SetReadDeadline(time.Now().Add(duration(o.Read))); err != nil {
		return nil, fmt.Errorf("%w: %w", errNothing, err)
	}
	if _, err := c.reader.Peek(1); err != nil {
		if timedOut(err) {
			return nil, fmt.Errorf("failed to receive from t1k server %s: timeout: %w", d.address, err)
		}
		return nil, fmt.Errorf("failed to receive from t1k server %s: %w: %w", d.address, errNothing, err)
	}
	a, err := readAnswer(c.reader)
	if err != nil {
		return nil, fmt.Errorf("failed to receive from t1k server %s: %w", d.address, err)
	}
	if c.reader.Buffered() > 0 {
		return nil, fmt.Errorf("t1k server %s sends more than its answer", d.address)
	}
	return a, nil
}

// conn is a connection with what has been read ahead of it.
type conn struct {
	net.Conn
	reader *bufio.Reader
	until  time.Time
}

// pool keeps idle connections, those used last on top. It is safe for concurrent use.
type pool struct {
	mu sync.Mutex
	// The rest is guarded by mu.
	idle   []*conn
	sweeps bool
	closed bool
}

// take returns an idle connection, or nil.
func (p *pool) take(now time.Time) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		if now.Before(c.until) {
			return c
		}
		_ = c.Close()
	}
	return nil
}

// put takes a connection back, of up to limit of them, for some time.
func (p *pool) put(c *conn, limit int, timeout time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= limit {
		_ = c.Close()
		return
	}
	c.until = time.Now().Add(timeout)
	p.idle = append(p.idle, c)
	p.sweep(timeout)
}

// sweep has connections closed that nobody takes. It needs the lock.
func (p *pool) sweep(after time.Duration) {
	if p.sweeps {
		return
	}
	p.sweeps = true
	time.AfterFunc(after, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sweeps = false
		now := time.Now()
		kept := p.idle[:0]
		next := time.Duration(0)
		for _, c := range p.idle {
			left := c.until.Sub(now)
			if left <= 0 {
				_ = c.Close()
				continue
			}
			kept = append(kept, c)
			next = max(next, left)
		}
		clear(p.idle[len(kept):])
		p.idle = kept
		if len(kept) > 0 {
			p.sweep(next)
		}
	})
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		_ = c.Close()
	}
	p.idle = nil
}

const (
	// maxFailures in a row take a detector out of use.
	maxFailures = 3
	// pause is for how long. Then one request finds out whether it works again.
	pause = 10 * time.Second
)

// breaker knows whether a detector works. The zero value does.
type breaker struct {
	mu       sync.Mutex
	failures int
	// until is when the detector may be asked again. Guarded by mu, as failures are.
	until time.Time
}

func (b *breaker) allows(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < maxFailures {
		return true
	}
	if now.Before(b.until) {
		return false
	}
	// This one finds out, and the others wait for what it finds.
	b.until = now.Add(pause)
	return true
}

func (b *breaker) report(works bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if works {
		b.failures = 0
		return
	}
	b.failures++
	b.until = now.Add(pause)
}
