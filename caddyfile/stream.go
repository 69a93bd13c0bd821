// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	andocaddy "github.com/andogate/ando/modules/caddy"
)

var streamWords = []string{"grace_period", "plugins", "tcp", "udp"}

// parseStream reads where streams come in:
//
//	stream {
//		tcp :9100
//		tcp :9101 tls
//		udp :9200
//	}
func parseStream(d *caddyfile.Dispenser, app *andocaddy.App) error {
	if app.Stream != nil {
		return d.Errf("stream is given twice")
	}
	app.Stream = new(andocaddy.StreamConfig)
	nesting := d.Nesting()
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(nesting) {
		if err := parseStreamWord(d, app.Stream); err != nil {
			return err
		}
	}
	return nil
}

func parseStreamWord(d *caddyfile.Dispenser, stream *andocaddy.StreamConfig) (err error) {
	switch word := d.Val(); word {
	case "tcp":
		args := d.RemainingArgs()
		if len(args) == 0 || len(args) > 2 || len(args) == 2 && args[1] != "tls" {
			return d.Errf("tcp takes an address, and tls when TLS ends here")
		}
		stream.TCP = append(stream.TCP, andocaddy.StreamListener{Listen: args[0], TLS: len(args) == 2})
	case "udp":
		address, err := one(d)
		if err != nil {
			return d.Errf("udp takes an address")
		}
		stream.UDP = append(stream.UDP, andocaddy.StreamListener{Listen: address.Text})
	case "plugins":
		words, err := some(d)
		stream.Plugins = append(stream.Plugins, words...)
		return err
	case "grace_period":
		text, err := one(d)
		if err != nil {
			return err
		}
		period, err := caddy.ParseDuration(text.Text)
		if err != nil || period <= 0 {
			return d.Errf("grace_period: %q is no duration like 10s", text.Text)
		}
		stream.GracePeriod = caddy.Duration(period)
	default:
		return unknown(d, "stream", streamWords)
	}
	return nil
}
