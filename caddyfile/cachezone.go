// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	andocaddy "github.com/andogate/ando/modules/caddy"
)

func parseCacheZone(d *caddyfile.Dispenser, app *andocaddy.App) error {
	var zone andocaddy.CacheZone
	if !d.AllArgs(&zone.Name) {
		return d.Errf("cache_zone takes a name")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch word := d.Val(); word {
		case "path":
			if !d.AllArgs(&zone.Path) {
				return d.Errf("path takes a folder")
			}
		case "size":
			if !d.AllArgs(&zone.Size) {
				return d.Errf("size takes a size such as 500MB")
			}
		case "fresh":
			var text string
			if !d.AllArgs(&text) {
				return d.Errf("fresh takes a duration such as 10s")
			}
			fresh, err := caddy.ParseDuration(text)
			if err != nil {
				return d.Errf("fresh: %v", err)
			}
			zone.Fresh = caddy.Duration(fresh)
		default:
			return unknown(d, "cache_zone", []string{"fresh", "path", "size"})
		}
	}
	app.CacheZones = append(app.CacheZones, zone)
	return nil
}
