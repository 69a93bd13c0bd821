// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Entry is one compiled plugin config on its way into a chain.
type Entry struct {
	Plugin *Plugin
	// Instance is what Plugin.New returned. A consumer's entry without one is disabled: it takes the plugin out.
	Instance any
	// Priority is the plugin's own unless `_meta.priority` says otherwise.
	Priority int
	// Filter is the compiled `_meta.filter`; nil is always true.
	Filter Predicate
	// FilterReadsBody is up to how many bytes of the request body Filter looks at; 0 is none.
	FilterReadsBody int64
	// ErrorResponse is `_meta.error_response` as the body to send; nil leaves the plugin's own.
	ErrorResponse []byte
	// ErrorIsJSON says that ErrorResponse was given as an object: like every JSON body of APISIX's it then ends with a
	// newline, and its type is the plugin's.
	ErrorIsJSON bool
}

// hook is one entry with its hooks asserted. slot is its place in the exchange's per-plugin state, and stays the same
// in every chain derived from the one it was first compiled for.
type hook struct {
	Entry
	slot         int
	blocks       bool
	bodyLimit    int64
	bodyDecider  BodyDecider
	rewriter     Rewriter
	accessor     Accessor
	beforeProxy  BeforeProxy
	headerFilter HeaderFilter
	bodyFilter   BodyFilter
	// responseReader is asked for its headerFilter.
	responseReader ResponseReader
	encoder        Encoder
	logger         Logger
}

// Chain is the flat, sorted list of the compiled hooks of one route, or of all global rules. It is immutable; chains
// for consumers are derived on first use and kept with it. The nil Chain is empty.
type Chain struct {
	hooks []*hook
	slots int

	rewriters, accessors, beforeProxies, headerFilters, bodyFilters, responseReaders, encoders, loggers []*hook
	// added holds the rewriters that a consumer brought along: they run when the consumer is known.
	added []*hook
	// replaced holds the slots whose config a consumer has replaced.
	replaced []int
	// filterReads is the highest FilterReadsBody.
	filterReads int64

	derived derivedChains
}

// NewChain sorts entries by priority, highest first, then by name. No two may be of the same plugin.
func NewChain(entries []Entry) *Chain {
	if len(entries) == 0 {
		return nil
	}
	hooks := make([]*hook, len(entries))
	for i, entry := range entries {
		hooks[i] = newHook(entry)
	}
	sortHooks(hooks)
	for i, h := range hooks {
		h.slot = i
	}
	return newChain(hooks, len(hooks))
}

func sortHooks(hooks []*hook) {
	slices.SortFunc(hooks, func(a, b *hook) int {
		if a.Priority != b.Priority {
			return b.Priority - a.Priority
		}
		return strings.Compare(a.Plugin.Name, b.Plugin.Name)
	})
}

func newHook(entry Entry) *hook {
	h := &hook{Entry: entry, blocks: entry.Plugin.Blocking}
	if entry.ErrorIsJSON && !bytes.HasSuffix(entry.ErrorResponse, []byte("\n")) {
		h.ErrorResponse = append(slices.Clip(entry.ErrorResponse), '\n')
	}
	h.rewriter, _ = entry.Instance.(Rewriter)
	h.accessor, _ = entry.Instance.(Accessor)
	h.beforeProxy, _ = entry.Instance.(BeforeProxy)
	h.headerFilter, _ = entry.Instance.(HeaderFilter)
	h.bodyFilter, _ = entry.Instance.(BodyFilter)
	h.responseReader, _ = entry.Instance.(ResponseReader)
	h.encoder, _ = entry.Instance.(Encoder)
	h.logger, _ = entry.Instance.(Logger)
	if blocker, ok := entry.Instance.(Blocker); ok {
		h.blocks = blocker.Blocks()
	}
	if reader, ok := entry.Instance.(BodyReader); ok {
		h.bodyLimit = reader.ReadsBody()
		h.bodyDecider, _ = entry.Instance.(BodyDecider)
	}
	return h
}

func newChain(hooks []*hook, slots int) *Chain {
	c := &Chain{hooks: hooks, slots: slots}
	for _, h := range hooks {
		c.filterReads = max(c.filterReads, h.FilterReadsBody)
		if h.rewriter != nil {
			c.rewriters = append(c.rewriters, h)
		}
		if h.accessor != nil {
			c.accessors = append(c.accessors, h)
		}
		if h.beforeProxy != nil {
			c.beforeProxies = append(c.beforeProxies, h)
		}
		if h.headerFilter != nil {
			c.headerFilters = append(c.headerFilters, h)
		}
		if h.bodyFilter != nil {
			c.bodyFilters = append(c.bodyFilters, h)
		}
		if h.responseReader != nil {
			c.responseReaders = append(c.responseReaders, h)
		}
		if h.encoder != nil {
			c.encoders = append(c.encoders, h)
		}
		if h.logger != nil {
			c.loggers = append(c.loggers, h)
		}
	}
	return c
}

// Has reports whether the chain carries the plugin.
func (c *Chain) Has(plugin *Plugin) bool { return c.find(plugin) != nil }

// Entry returns what the chain was made of for the plugin, and whether it carries it.
func (c *Chain) Entry(plugin *Plugin) (Entry, bool) {
	if h := c.find(plugin); h != nil {
		return h.Entry, true
	}
	return Entry{}, false
}

// Carries reports whether the plugin takes part in the exchange: by its route, its consumer or a global rule.
func (x *Exchange) Carries(plugin *Plugin) bool {
	return x.chain.Has(plugin) || x.Table.Globals().Has(plugin)
}

func (c *Chain) find(plugin *Plugin) *hook {
	if c == nil {
		return nil
	}
	for _, h := range c.hooks {
		if h.Plugin == plugin {
			return h
		}
	}
	return nil
}

// Names returns the names of the plugins in the order in which they run.
func (c *Chain) Names() []string {
	if c == nil {
		return nil
	}
	names := make([]string, len(c.hooks))
	for i, h := range c.hooks {
		names[i] = h.Plugin.Name
	}
	return names
}

// forConsumer returns the chain with the plugins of the consumer and its group merged in: same plugin replaced, new
// plugin added. Auth plugins of a consumer are credentials and stay out. It is compiled on first use.
func (c *Chain) forConsumer(consumer *Consumer) *Chain {
	if len(consumer.Plugins) == 0 {
		return c
	}
	if c == nil {
		return emptyChain.forConsumer(consumer)
	}
	if d := c.derived.load(consumer); d != nil {
		return d
	}
	hooks, slots := slices.Clone(c.hooks), c.slots
	var added []*hook
	var replaced []int
	for _, entry := range consumer.Plugins {
		i := slices.IndexFunc(hooks, func(old *hook) bool { return old.Plugin == entry.Plugin })
		switch h := newHook(entry); {
		case entry.Instance == nil:
			if i >= 0 {
				hooks = slices.Delete(hooks, i, i+1)
			}
		case i >= 0:
			h.slot = hooks[i].slot
			hooks[i] = h
			replaced = append(replaced, h.slot)
		default:
			h.slot = slots
			slots++
			hooks = append(hooks, h)
			if h.rewriter != nil {
				added = append(added, h)
			}
		}
	}
	sortHooks(hooks)
	sortHooks(added)
	chain := newChain(hooks, slots)
	chain.added, chain.replaced = added, replaced
	return c.derived.store(consumer, chain)
}

// emptyChain is where the chains of consumers on routes without plugins hang.
var emptyChain = newChain(nil, 0)

// derivedChains maps consumers to the chains compiled for them; reading takes no lock. A consumer that was replaced
// leaves its chain behind, so the map is emptied when it is full; it fills again on use.
type derivedChains struct {
	chains sync.Map
	size   atomic.Int64
}

const maxDerivedChains = 4096

func (d *derivedChains) load(consumer *Consumer) *Chain {
	chain, _ := d.chains.Load(consumer)
	c, _ := chain.(*Chain)
	return c
}

func (d *derivedChains) store(consumer *Consumer, chain *Chain) *Chain {
	if d.size.Load() >= maxDerivedChains {
		d.chains.Clear()
		d.size.Store(0)
	}
	first, loaded := d.chains.LoadOrStore(consumer, chain)
	if !loaded {
		d.size.Add(1)
	}
	return first.(*Chain)
}
