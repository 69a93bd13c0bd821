// SPDX-License-Identifier: Apache-2.0

package ando_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	modulePath = "github.com/andogate/ando"
	caddyPath  = "github.com/caddyserver/caddy/v2"
)

// mayImport says what of this module the packages below a folder may import, the longest folder that fits counting. A
// folder stands for everything below it. Reading it top down is the direction in which dependencies point.
var mayImport = map[string][]string{
	"modules/gateway":             {},
	"modules/secret":              {"modules/outbound", "modules/gateway"},
	"admin/schema":                {"modules/gateway"},
	"modules/expr":                {"modules/gateway"},
	"modules/lua":                 {"modules/gateway", "modules/expr", "modules/lua"},
	"modules/store":               {"modules/gateway"},
	"modules/upstream":            {"modules/gateway", "modules/expr", "modules/upstream", "modules/outbound", "admin/schema"},
	"modules/lane":                {"modules/gateway", "modules/expr", "modules/lane"},
	"modules/nethttp":             {"modules/gateway", "modules/expr"},
	"modules/stream":              {"modules/gateway"},
	"modules/outbound":            {},
	"modules/protos":              {},
	"modules/plugins":             {"modules/gateway", "modules/expr", "modules/upstream", "modules/outbound", "modules/protos", "modules/lua", "modules/plugins", "admin/schema"},
	"modules/table":               {"modules/gateway", "modules/expr", "modules/upstream", "modules/protos", "modules/secret", "admin/schema"},
	"admin":                       {"modules/gateway", "modules/upstream", "modules/table", "modules/secret", "admin"},
	"modules/gateway/gatewaytest": {"modules", "admin"},
	"modules/caddy":               {"modules", "admin"},
	"caddyfile":                   {"modules", "admin"},
	"cmd":                         {"modules/caddy", "caddyfile", "."},
	".":                           {"modules/caddy", "caddyfile"},
}

// mayImportCaddy lists the folders in which Caddy is known.
var mayImportCaddy = []string{"modules/caddy", "caddyfile", "cmd", "."}

func TestImportsPointOneWay(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".") && file != ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		folder := path.Dir(filepath.ToSlash(file))
		seen[ruleFor(folder)] = true
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			checkImport(t, file, folder, imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"modules/gateway", "admin", "modules/caddy", "."} {
		if !seen[folder] {
			t.Errorf("no file of %s was looked at", folder)
		}
	}
}

func checkImport(t *testing.T, file, folder, imported string) {
	t.Helper()
	if within(imported, caddyPath) && !slices.Contains(mayImportCaddy, ruleFor(folder)) {
		t.Errorf("%s imports %s; only %v know Caddy", file, imported, mayImportCaddy)
	}
	if !within(imported, modulePath) || strings.HasSuffix(file, "_test.go") {
		return
	}
	target := path.Clean("./" + strings.TrimPrefix(imported, modulePath))
	if target == folder {
		return
	}
	for _, allowed := range mayImport[ruleFor(folder)] {
		if target == allowed || allowed != "." && within(target, allowed) {
			return
		}
	}
	t.Errorf("%s imports %s; %s may import %v", file, target, ruleFor(folder), mayImport[ruleFor(folder)])
}

// ruleFor returns the folder in mayImport that speaks for a folder, or "" when none does.
func ruleFor(folder string) string {
	for rule := folder; ; rule = path.Dir(rule) {
		if _, ok := mayImport[rule]; ok && (rule != "." || folder == ".") {
			return rule
		}
		if rule == "." {
			return ""
		}
	}
}

func within(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, folder+"/")
}
