// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"

	"github.com/andogate/ando/modules/plugins/cache"
)

// CacheZone is where plugins that cache responses keep them: on disk when it has a path, and otherwise in memory.
type CacheZone struct {
	// The name that configs of plugins use.
	Name string `json:"name"`

	// The folder of a zone on disk; it is made when it is missing. Nothing else may be in it.
	Path string `json:"path,omitempty"`

	// How much the zone takes, such as 500MB. Default: 1GiB on disk, 50MiB in memory. What was not used for longest makes
	// room.
	Size string `json:"size,omitempty"`

	// How long a response is fresh that does not say so itself, on disk. Default: 10s.
	Fresh caddy.Duration `json:"fresh,omitempty"`
}

// provisionCacheZones defines the zones of the config. The two that every gateway has are there without a word:
// memory_cache, and disk_cache_one in Caddy's data directory.
func (a *App) provisionCacheZones() error {
	configs := []cache.ZoneConfig{
		{Name: cache.DefaultMemoryZone},
		{Name: cache.DefaultDiskZone, Path: filepath.Join(caddy.AppDataDir(), "ando", "cache", cache.DefaultDiskZone)},
	}
	for _, z := range a.CacheZones {
		c, err := z.config()
		if err != nil {
			return fmt.Errorf("%q: %w", z.Name, err)
		}
		configs = append(configs, c)
	}
	return cache.Define(configs...)
}

func (z *CacheZone) config() (cache.ZoneConfig, error) {
	c := cache.ZoneConfig{Name: z.Name, Path: z.Path}
	var size uint64
	var err error
	if z.Size != "" {
		if size, err = humanize.ParseBytes(z.Size); err != nil || size == 0 || size > 1<<50 {
			return c, fmt.Errorf("size: %q is not a size such as 500MB", z.Size)
		}
	}
	if z.Path == "" {
		c.MemorySize = int64(size)
		return c, nil
	}
	c.DiskSize = int64(size)
	if c.Fresh = time.Duration(z.Fresh); c.Fresh < 0 {
		return c, fmt.Errorf("fresh: a positive time is expected")
	}
	c.Path, err = filepath.Abs(z.Path)
	return c, err
}
