// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
)

// The plugins of APISIX, built or not: one file each, those for streams in a folder of their own.
//
//go:embed plugins
var pluginFiles embed.FS

// PluginDescription is what APISIX says about one of its plugins. It is shared and must not be modified.
type PluginDescription struct {
	Name     string  `json:"name"`
	Priority int     `json:"priority"`
	Version  float64 `json:"version"`
	// Type is "auth", "validation" or empty; Scope is "global" or empty.
	Type  string `json:"type"`
	Scope string `json:"scope"`
	// Schema has `_meta` among its properties. ConsumerSchema and MetadataSchema are nil where the plugin has none.
	Schema         json.RawMessage `json:"schema"`
	ConsumerSchema json.RawMessage `json:"consumer_schema"`
	MetadataSchema json.RawMessage `json:"metadata_schema"`
}

var (
	httpCatalog   = sync.OnceValue(func() map[string]*PluginDescription { return readCatalog("plugins") })
	streamCatalog = sync.OnceValue(func() map[string]*PluginDescription { return readCatalog("plugins/stream") })
)

// Catalog returns APISIX's plugins for HTTP, or for streams, by name. It says what they are like, not that they are
// built. The map is shared and must not be modified.
func Catalog(stream bool) map[string]*PluginDescription {
	if stream {
		return streamCatalog()
	}
	return httpCatalog()
}

// readCatalog reads a folder. It panics when a file is not what it should be, since that is a programming error.
func readCatalog(folder string) map[string]*PluginDescription {
	entries, err := fs.ReadDir(pluginFiles, folder)
	if err != nil {
		panic(err)
	}
	catalog := make(map[string]*PluginDescription, len(entries))
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		raw, err := pluginFiles.ReadFile(path.Join(folder, entry.Name()))
		if err != nil {
			panic(err)
		}
		d := new(PluginDescription)
		if err := json.Unmarshal(raw, d); err != nil || d.Name != strings.TrimSuffix(entry.Name(), ".json") {
			panic(fmt.Sprintf("%s: named %q, %v", entry.Name(), d.Name, err))
		}
		d.Schema = withMeta(d.Name, d.Schema)
		catalog[d.Name] = d
	}
	return catalog
}
