// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/andogate/ando/admin/standalone"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/store/file"
	"github.com/andogate/ando/modules/store/memory"
	"github.com/andogate/ando/modules/table"
)

// FileStore reads objects from an apisix.yaml or apisix.json and follows the changes that are made to it. The Admin API
// shows them and writes nothing.
//
// A file that is broken leaves everything as it was, and so does an item that is not good where it was good before; both
// are logged.
type FileStore struct {
	// Path of the file. One that ends in .json is JSON; any other is YAML and ends with the line #END. Default:
	// apisix.yaml in the working directory.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*FileStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ando.stores.file", New: func() caddy.Module { return new(FileStore) }}
}

// Provision settles the path.
func (s *FileStore) Provision(caddy.Context) error {
	path, err := caddy.NewReplacer().ReplaceOrErr(s.Path, true, true)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	if path == "" {
		path = "apisix.yaml"
	}
	s.Path, err = filepath.Abs(path)
	return err
}

// StoreKey is the file's path.
func (s *FileStore) StoreKey() string { return "file " + s.Path }

// OpenStore reads the file.
func (s *FileStore) OpenStore() (gateway.Store, error) {
	// Whether a config allows a plugin is for its table to say; the file outlives the config.
	checker := &table.Compiler{Router: defaultRouter, Plugins: gateway.RegisteredPlugins(), Log: newestLog}
	reader := &standalone.Reader{Path: s.Path, Checker: checker, Log: newestLog}
	return file.Open(file.Config{Path: s.Path, Parse: reader.Objects, Log: newestLog})
}

// KeyPath is empty: people write the file, and it says what they wrote.
func (*FileStore) KeyPath() string { return "" }

// String says where the objects are.
func (s *FileStore) String() string { return s.Path }

// UnmarshalCaddyfile reads `file [<path>]`.
func (s *FileStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		s.Path = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// StandaloneStore keeps objects until the process ends, and takes them only all at once: with it the Admin API has the
// resource /apisix/admin/configs and no other, as APISIX has when it is API-driven standalone. That is what APISIX's
// ingress controller writes to.
type StandaloneStore struct{}

// CaddyModule returns the Caddy module information.
func (*StandaloneStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ando.stores.standalone", New: func() caddy.Module { return new(StandaloneStore) }}
}

// StoreKey is the same for all: what is kept in memory survives a reload.
func (*StandaloneStore) StoreKey() string { return "standalone" }

// OpenStore returns an empty store.
func (*StandaloneStore) OpenStore() (gateway.Store, error) { return memory.New(), nil }

// KeyPath is empty: the keys go with the objects.
func (*StandaloneStore) KeyPath() string { return "" }

// String says where the objects are.
func (*StandaloneStore) String() string { return "memory, as one document" }

// UnmarshalCaddyfile reads `standalone`.
func (*StandaloneStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// newDocument returns the document that the objects of the store come from, or nil for stores that take them one by one.
func newDocument(store Store) *standalone.State {
	if _, ok := store.(*StandaloneStore); ok {
		return new(standalone.State)
	}
	return nil
}

var (
	_ Store                 = (*FileStore)(nil)
	_ Store                 = (*StandaloneStore)(nil)
	_ caddy.Provisioner     = (*FileStore)(nil)
	_ caddyfile.Unmarshaler = (*FileStore)(nil)
	_ caddyfile.Unmarshaler = (*StandaloneStore)(nil)
)
