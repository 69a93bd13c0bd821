// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/andogate/ando/modules/plugins/proxycache"
)

func TestCacheZones(t *testing.T) {
	s := newSite(t)
	up := node(t, "up")
	folder := filepath.Join(t.TempDir(), "pages")
	s.mustLoad(gatewayHandler, fmt.Sprintf(`, "cache_zones": [{"name":"pages","path":%q,"size":"1MB","fresh":"1m"}]`, folder))
	for _, c := range []struct{ zone, strategy, want string }{
		{"pages", "disk", "201"},
		{"pages", "memory", "400"},
		{"none", "disk", "400"},
		{"memory_cache", "memory", "200"},
		{"pages", "disk", "200"},
	} {
		answer := s.do("PUT", s.admin, "/apisix/admin/routes/1", fmt.Sprintf(
			`{"uri":"/*","plugins":{"proxy-cache":{"cache_zone":%q,"cache_strategy":%q}},"upstream":{"nodes":{%q:1}}}`, c.zone, c.strategy, up))
		if !strings.HasPrefix(answer, c.want) {
			t.Errorf("%s %s: got %s", c.zone, c.strategy, answer)
		}
	}
	s.expect(s.get(s.port, "/a"), "200 up /a ")
	// The response is stored beside its answer.
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(folder); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	for config, want := range map[string]string{
		`{"name":""}`:                        "no name",
		`{"name":"a","size":"much"}`:         `"a": size: "much" is not a size such as 500MB`,
		`{"name":"a","path":"b","fresh":-1}`: `"a": fresh: a positive time is expected`,
	} {
		if err := s.load(gatewayHandler, `, "cache_zones": [`+config+`]`, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", config, err, want)
		}
	}
}
