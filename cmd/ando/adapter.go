// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/andogate/ando/caddyfile"
)

// configCommands are Caddy's commands that read a configuration file.
var configCommands = []string{"run", "start", "reload", "adapt", "validate"}

// adapterArgs is what the command line lacks for a Caddyfile to be read by Ando's adapter, which lets connections outlive
// reloads: nothing when it names an adapter itself, or reads something else. Which files are Caddyfiles is Caddy's rule.
func adapterArgs(args []string, exists func(string) bool) []string {
	if len(args) < 2 || !slices.Contains(configCommands, args[1]) {
		return nil
	}
	config := ""
	for i, arg := range args[2:] {
		name, value, inline := strings.Cut(arg, "=")
		switch name {
		case "--adapter", "-a", "--resume", "-r", "--help", "-h":
			return nil
		case "--config", "-c":
			if !inline && 2+i+1 < len(args) {
				value = args[2+i+1]
			}
			config = value
		}
	}
	if config == "" {
		if !exists("Caddyfile") {
			return nil
		}
		return []string{"--config", "Caddyfile", "--adapter", caddyfile.AdapterName}
	}
	base := strings.ToLower(filepath.Base(config))
	extension := filepath.Ext(base)
	if strings.HasPrefix(base, "caddyfile") && extension != ".json" && extension != ".yaml" && extension != ".yml" ||
		extension == ".caddyfile" {
		return []string{"--adapter", caddyfile.AdapterName}
	}
	return nil
}
