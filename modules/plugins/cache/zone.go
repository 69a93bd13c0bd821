// SPDX-License-Identifier: Apache-2.0

// Package cache keeps responses in zones, in memory or on disk, for the plugins that cache: proxy-cache and
// graphql-proxy-cache.
package cache

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Zone is a bounded place for responses. It is safe for concurrent use, and outlives configs: one that is defined again as
// it was keeps what it has.
type Zone struct {
	config ZoneConfig
	store  store
	flights
}

// store keeps entries by key and forgets the least recently used ones when it is full.
type store interface {
	get(key string) *Entry
	put(key string, e *Entry)
	// remove returns the entry that was there.
	remove(key string) *Entry
}

// ZoneConfig says what a zone is.
type ZoneConfig struct {
	Name string
	// Path is the folder of a zone on disk, and DiskSize how many bytes it may take; without a path the zone is in memory
	// and takes up to MemorySize bytes.
	Path                 string
	DiskSize, MemorySize int64
	// Fresh is how long a response is fresh that does not say so itself, in a zone on disk.
	Fresh time.Duration
}

// What the zones are that every gateway has, as in APISIX.
const (
	DefaultDiskZone   = "disk_cache_one"
	DefaultMemoryZone = "memory_cache"

	defaultDiskSize   = 1 << 30
	defaultMemorySize = 50 << 20
	defaultFresh      = 10 * time.Second
)

var registry struct {
	sync.Mutex
	zones map[string]*Zone
}

// Define makes zones known. What is not given is as it is in a zone by default. One that is there already with other
// settings is replaced, and what it had in memory is forgotten.
func Define(configs ...ZoneConfig) error {
	for _, c := range configs {
		switch {
		case c.Name == "":
			return errors.New("cache zone: no name")
		case c.DiskSize < 0 || c.MemorySize < 0 || c.Fresh < 0:
			return fmt.Errorf("cache zone %s: sizes and times are positive", c.Name)
		}
	}
	registry.Lock()
	defer registry.Unlock()
	for _, c := range configs {
		define(c)
	}
	return nil
}

// define needs the registry's lock.
func define(c ZoneConfig) *Zone {
	if c.DiskSize == 0 {
		c.DiskSize = defaultDiskSize
	}
	if c.MemorySize == 0 {
		c.MemorySize = defaultMemorySize
	}
	if c.Fresh == 0 {
		c.Fresh = defaultFresh
	}
	if known := registry.zones[c.Name]; known != nil && known.config == c {
		return known
	}
	z := &Zone{config: c}
	if c.Path == "" {
		z.store = newMemory(c.MemorySize)
	} else {
		z.store = &disk{folder: c.Path, limit: c.DiskSize}
	}
	if registry.zones == nil {
		registry.zones = make(map[string]*Zone)
	}
	registry.zones[c.Name] = z
	return z
}

// Find returns the zone of that name, or nil. The two that every gateway has are made when they are first asked for.
func Find(name string) *Zone {
	registry.Lock()
	defer registry.Unlock()
	if z := registry.zones[name]; z != nil {
		return z
	}
	switch name {
	case DefaultMemoryZone:
		return define(ZoneConfig{Name: name})
	case DefaultDiskZone:
		return define(ZoneConfig{Name: name, Path: filepath.Join(os.TempDir(), name)})
	}
	return nil
}

// Names lists the zones that are known.
func Names() []string {
	registry.Lock()
	defer registry.Unlock()
	return slices.Sorted(maps.Keys(registry.zones))
}

// OnDisk reports whether the zone is on disk: to read and write it takes waiting.
func (z *Zone) OnDisk() bool { return z.config.Path != "" }

// Fresh is how long a response is fresh in the zone that does not say so itself.
func (z *Zone) Fresh() time.Duration { return z.config.Fresh }

// Get returns what is stored for a key, or nil. values gives the fields of the request that a response may depend on.
func (z *Zone) Get(key string, values func(name string) string) *Entry {
	e := z.store.get(key)
	if e == nil || len(e.Vary) == 0 {
		return e
	}
	return z.store.get(e.variant(key, values))
}

// Put stores a response. vary names the fields of the request, in lower case and sorted, that it depends on.
func (z *Zone) Put(key string, e *Entry, vary []string, values func(name string) string) {
	if len(vary) == 0 {
		z.store.put(key, e)
		return
	}
	index := z.store.get(key)
	if index == nil || !slices.Equal(index.Vary, vary) {
		index = &Entry{Vary: vary, Mark: rand.Uint64(), Stored: e.Stored}
		z.store.put(key, index)
	}
	z.store.put(index.variant(key, values), e)
}

// Remove forgets every response for a key, and reports whether there was one.
func (z *Zone) Remove(key string) bool { return z.store.remove(key) != nil }

// variant is the key of the response for a request, of those that e stands for.
func (e *Entry) variant(key string, values func(name string) string) string {
	key += "\x00" + strconv.FormatUint(e.Mark, 36)
	for _, name := range e.Vary {
		key += "\x00" + values(name)
	}
	return key
}
