// SPDX-License-Identifier: Apache-2.0

package caddyfile_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// TestAdaptAPISIX is TestAdapt for the files NAME.apisixtest, in which NAME with its ending is the file that is adapted.
// Warnings stand before the config.
func TestAdaptAPISIX(t *testing.T) {
	files, err := filepath.Glob("testdata/*.apisixtest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("ANDO_PORT", "")
	t.Setenv("ANDO_TLS_PORT", "")
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".apisixtest")
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source, want, _ := strings.Cut(string(raw), separator)
			got := adaptAPISIX(t, source, map[string]any{"filename": name})
			if *update {
				if err := os.WriteFile(file, []byte(source+separator+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func adaptAPISIX(t *testing.T, source string, options map[string]any) string {
	t.Helper()
	raw, warnings, err := caddyconfig.GetAdapter("apisix").Adapt([]byte(source), options)
	var out bytes.Buffer
	for _, warning := range warnings {
		fmt.Fprintf(&out, "warning: %v\n", warning)
	}
	if err != nil {
		return fmt.Sprintf("%s%v\n", out.String(), err)
	}
	var config caddy.Config
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	config.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: "PANIC"}}}}
	if err := caddy.Validate(&config); err != nil {
		t.Errorf("what it is adapted to is refused: %v", err)
	}
	if err := json.Indent(&out, raw, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return out.String() + "\n"
}

// A request to Caddy's admin endpoint has no file's name.
func TestAdaptAPISIXWithoutName(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	yaml := adaptAPISIX(t, "routes: [{uri: /a, plugins: {}}]\n#END", nil)
	if got := adaptAPISIX(t, `{"routes":[{"uri":"/a","plugins":{}}]}`, nil); got != yaml || !strings.Contains(got, `"id": "arr_1"`) {
		t.Errorf("got %s, want %s", got, yaml)
	}
}
