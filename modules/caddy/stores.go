// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/store/bolt"
	"github.com/andogate/ando/modules/store/memory"
)

// Store is a module of the namespace ando.stores: it says where objects are kept.
type Store interface {
	// StoreKey names what OpenStore opens. Configs whose stores have one key share one gateway.
	StoreKey() string
	// OpenStore is called when no gateway has the store of that key open, and never while a config is only validated.
	OpenStore() (gateway.Store, error)
}

// BoltStore keeps objects in one file. Every write is on disk before it is acknowledged. One process can have the file
// open at a time.
//
// Secrets in objects are encrypted with the key in the file beside it, whose name ends in `.key`; it is made with the first
// start and belongs into every backup. To change the key, put a new one (32 characters) on a line before it.
type BoltStore struct {
	// Path of the file; it and its folders are made when they are missing. Default: `ando/ando.db` in Caddy's data directory.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*BoltStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ando.stores.bolt", New: func() caddy.Module { return new(BoltStore) }}
}

// Provision settles the path.
func (s *BoltStore) Provision(caddy.Context) error {
	path, err := caddy.NewReplacer().ReplaceOrErr(s.Path, true, true)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	if path == "" {
		path = filepath.Join(caddy.AppDataDir(), "ando", "ando.db")
	}
	s.Path, err = filepath.Abs(path)
	return err
}

// StoreKey is the file's path without detours, as far as it exists.
func (s *BoltStore) StoreKey() string {
	dir, name := filepath.Split(s.Path)
	if direct, err := filepath.EvalSymlinks(dir); err == nil {
		dir = direct
	}
	return "bolt " + filepath.Join(dir, name)
}

// OpenStore opens the file, and makes it when there is none.
func (s *BoltStore) OpenStore() (gateway.Store, error) { return bolt.Open(s.Path) }

// KeyPath is beside the file.
func (s *BoltStore) KeyPath() string { return s.Path + ".key" }

// String says where the objects are.
func (s *BoltStore) String() string { return s.Path }

// UnmarshalCaddyfile reads `bolt [<path>]`.
func (s *BoltStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		s.Path = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// MemoryStore keeps objects until the process ends.
type MemoryStore struct{}

// CaddyModule returns the Caddy module information.
func (*MemoryStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ando.stores.memory", New: func() caddy.Module { return new(MemoryStore) }}
}

// StoreKey is the same for all: what is kept in memory survives a reload.
func (*MemoryStore) StoreKey() string { return "memory" }

// OpenStore returns an empty store.
func (*MemoryStore) OpenStore() (gateway.Store, error) { return memory.New(), nil }

// KeyPath is empty: the keys go with the objects.
func (*MemoryStore) KeyPath() string { return "" }

// String says where the objects are.
func (*MemoryStore) String() string { return "memory" }

// UnmarshalCaddyfile reads `memory`.
func (*MemoryStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

var (
	_ Store                 = (*BoltStore)(nil)
	_ Store                 = (*MemoryStore)(nil)
	_ keyed                 = (*BoltStore)(nil)
	_ keyed                 = (*MemoryStore)(nil)
	_ caddy.Provisioner     = (*BoltStore)(nil)
	_ caddyfile.Unmarshaler = (*BoltStore)(nil)
	_ caddyfile.Unmarshaler = (*MemoryStore)(nil)
)
