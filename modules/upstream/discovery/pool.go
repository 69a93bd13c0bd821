// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// The wait before a watch that failed is taken up again doubles from one to the other.
	minRetry = time.Second
	maxRetry = 30 * time.Second
	// fetchedFor is how long what was prefetched is watched although nobody uses it yet.
	fetchedFor = time.Minute
)

// Pool watches the registries for what is in use, and keeps what they told last: neither a registry's failure nor a change
// of settings takes known nodes away. It is safe for concurrent use; Lookup neither waits nor asks anybody.
type Pool struct {
	newest func() *zap.Logger
	// minRetry and maxRetry are the constants, but for tests.
	minRetry, maxRetry time.Duration
	changed            chan struct{}

	mu sync.Mutex
	// settings are those of each user; the last ones count.
	settings []*Settings
	watches  map[Query]*watch
	version  uint64
}

// watch is what is known of one query. It is guarded by the pool's mu.
type watch struct {
	source source
	stop   context.CancelFunc
	// run tells the watches of a query apart: only the last one's reports count.
	run int
	// told is closed after the first answer, also when that is a failure.
	told  chan struct{}
	nodes []Node
	// err is nil once nodes are known, for good.
	err error
	// version changes with nodes and err; 0 is before the first answer.
	version uint64
	until   time.Time
}

// NewPool returns a pool that watches nothing. log returns the logger to use, anew for each message; nil logs nothing.
func NewPool(log func() *zap.Logger) *Pool {
	if log == nil {
		log = zap.NewNop
	}
	return &Pool{
		newest: log, minRetry: minRetry, maxRetry: maxRetry,
		changed: make(chan struct{}, 1), watches: make(map[Query]*watch),
	}
}

// Use makes settings the pool's until release is called, or until others are: then those before count again. Watches of
// registries whose settings have changed begin anew, and what is known stays.
func (p *Pool) Use(s *Settings) (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settings = append(p.settings, s)
	p.renew()
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		i := slices.Index(p.settings, s)
		p.settings = slices.Delete(p.settings, i, i+1)
		p.renew()
	})
}

// renew begins the watches again whose registry is another one now.
func (p *Pool) renew() {
	for q, w := range p.watches {
		current, err := p.source(q.Type)
		if err == nil && w.stop != nil && current.text == w.source.text {
			continue
		}
		p.halt(w)
		p.begin(q, w)
	}
	p.rouse()
}

func (p *Pool) source(kind string) (source, error) {
	if len(p.settings) == 0 {
		return source{}, errors.New("discovery has no settings")
	}
	return p.settings[len(p.settings)-1].source(kind)
}

// Lookup returns what is known: the nodes, in order, and which version of them it is, which is never the same for two
// answers. Without nodes known the error says why: ErrUnknown as long as nobody has answered yet, an *UnknownTypeError, or
// how asking failed. Nodes that are known to be none are no error. The slice is not to be changed.
func (p *Pool) Lookup(q Query) (nodes []Node, version uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.source(q.Type); err != nil {
		return nil, 0, err
	}
	w := p.watches[q]
	if w == nil || w.version == 0 {
		return nil, 0, ErrUnknown
	}
	return w.nodes, w.version, w.err
}

// Retain watches what is in use and nothing else, but for what was prefetched lately. Changed gets a value: whoever uses it
// may have looked before the last answer.
func (p *Pool) Retain(used map[Query]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for q := range used {
		p.want(q)
	}
	now := time.Now()
	for q, w := range p.watches {
		if !used[q] && w.until.Before(now) {
			p.halt(w)
			delete(p.watches, q)
		}
	}
	p.rouse()
}

// Close ends all watches and forgets what they told.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for q, w := range p.watches {
		p.halt(w)
		delete(p.watches, q)
	}
}

// Prefetch asks for what is not known yet, and returns when each query has an answer, be it a failure, or when ctx ends.
func (p *Pool) Prefetch(ctx context.Context, queries ...Query) {
	waits := make([]chan struct{}, 0, len(queries))
	p.mu.Lock()
	for _, q := range queries {
		w := p.want(q)
		w.until = time.Now().Add(fetchedFor)
		if w.stop != nil {
			waits = append(waits, w.told)
		}
	}
	p.mu.Unlock()
	for _, told := range waits {
		select {
		case <-told:
		case <-ctx.Done():
			return
		}
	}
}

// Changed gets a value after answers have changed, one for any number of them.
func (p *Pool) Changed() <-chan struct{} { return p.changed }

func (p *Pool) rouse() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Service is what is known of one service.
type Service struct {
	Query
	Nodes []Node
}

// Known returns the services of a type that are watched and known, in order. The nodes are not to be changed.
func (p *Pool) Known(kind string) (known []Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for q, w := range p.watches {
		if q.Type == kind && w.version > 0 && w.err == nil {
			known = append(known, Service{q, w.nodes})
		}
	}
	slices.SortFunc(known, func(a, b Service) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Args, b.Args)) })
	return known
}

func (p *Pool) want(q Query) *watch {
	w := p.watches[q]
	if w == nil {
		w = &watch{told: make(chan struct{})}
		p.watches[q] = w
		p.begin(q, w)
	}
	return w
}

func (p *Pool) halt(w *watch) {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
	w.run++
}

// begin watches on a goroutine of its own. Without a registry it waits for settings that have one.
func (p *Pool) begin(q Query, w *watch) {
	found, err := p.source(q.Type)
	if err != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	w.source, w.stop = found, stop
	run := w.run
	go p.watch(ctx, q, w, run)
}

func (p *Pool) watch(ctx context.Context, q Query, w *watch, run int) {
	retry := p.minRetry
	for {
		err := w.watchOnce(ctx, q, found{p, w, run, &retry})
		if ctx.Err() != nil {
			return
		}
		if shared := new(pacedError); errors.As(err, &shared) {
			retry = p.minRetry
		}
		p.failed(q, w, run, err, retry)
		// Gateways that lost one registry together do not come back to it together.
		if pause(ctx, retry/2+rand.N(retry/2+1)) != nil {
			return
		}
		retry = min(2*retry, p.maxRetry)
	}
}

// found takes the reports of one run of a watch.
type found struct {
	pool  *Pool
	watch *watch
	run   int
	retry *time.Duration
}

// watchOnce is Watch, where a panic is an error: a registry's odd answer costs nothing but that.
func (w *watch) watchOnce(ctx context.Context, q Query, f found) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	f.pool.mu.Lock()
	from := w.source
	f.pool.mu.Unlock()
	return from.Watch(ctx, q, f.report)
}

func (f found) report(nodes []Node) {
	*f.retry = f.pool.minRetry
	nodes = normal(nodes)
	p, w := f.pool, f.watch
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.run != f.run || w.version > 0 && w.err == nil && slices.Equal(w.nodes, nodes) {
		return
	}
	w.nodes, w.err = nodes, nil
	p.answered(w)
}

// answered makes what w has a new version. The caller holds mu.
func (p *Pool) answered(w *watch) {
	if w.version == 0 {
		close(w.told)
	}
	p.version++
	w.version = p.version
	p.rouse()
}

// failed notes a failure. It changes nothing but what was not known.
func (p *Pool) failed(q Query, w *watch, run int, err error, retry time.Duration) {
	p.mu.Lock()
	if w.run != run {
		p.mu.Unlock()
		return
	}
	if w.version == 0 {
		w.err = err
		p.answered(w)
	}
	known := len(w.nodes)
	p.mu.Unlock()
	p.newest().Named("discovery").Warn("nodes cannot be found out; those known go on", zap.String("type", q.Type),
		zap.String("name", q.Name), zap.Int("known", known), zap.Duration("retry_within", retry), zap.Error(err))
}

// normal sorts nodes and leaves out what cannot be one, so that the same nodes are the same list.
func normal(nodes []Node) []Node {
	nodes = slices.DeleteFunc(nodes, func(n Node) bool {
		return n.Host == "" || n.Port < 0 || n.Port > 65535 || n.Weight < 0 || net.ParseIP(n.Host) == nil && !isName(n.Host)
	})
	slices.SortFunc(nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Priority, b.Priority),
			cmp.Compare(a.Weight, b.Weight), cmp.Compare(a.GRPCPort, b.GRPCPort))
	})
	return slices.Compact(nodes)
}

// isName reports whether a host can stand in a Host field and in a DNS question.
func isName(host string) bool {
	for i := range len(host) {
		switch c := host[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return len(host) <= 253
}
