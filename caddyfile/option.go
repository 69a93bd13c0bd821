// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	andocaddy "github.com/andogate/ando/modules/caddy"
)

// optionWords are what the global option knows besides the objects.
var optionWords = []string{
	"admin", "cache_zone", "certificate_wait", "config_api", "control", "discovery", "fallback_sni", "lane", "plugins", "plugin_metadata", "route", "router", "show_upstream_status", "status", "store", "stream", "trusted_addresses", "trusted_certificates",
}

// parseOption reads the global option, which becomes the ando app:
//
//	ando {
//		admin <address>|off {
//			key <name> <key> [admin|viewer]
//			origins <origin...>
//			hosts <name...>
//		}
//		control <address>|off
//		status <address>|off
//		store bolt [<path>] | memory | file [<path>] | standalone
//		router radixtree_host_uri|radixtree_uri|radixtree_uri_with_parameter
//		lane auto|ring|poll|off
//		fallback_sni <name>
//		config_api <address>|off
//		certificate_wait <duration>
//		stream {
//			tcp <address> [tls]
//			udp <address>
//			plugins <name...>
//			grace_period <duration>
//		}
//		cache_zone <name> {
//			path <folder>
//			size <size>
//			fresh <duration>
//		}
//		discovery {
//			resolver|dns|consul|... {
//				servers <server...>
//				...
//			}
//		}
//		trusted_addresses <address or prefix...>
//		trusted_certificates system|<file>[,...]
//		plugins <name...>
//		show_upstream_status
//
//		route <path...> { ... }
//		service|upstream|consumer|consumer_group|plugin_config|global_rule <id> { ... }
//		plugin_metadata <plugin> { ... }
//	}
func parseOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next()
	if existing != nil {
		return nil, d.Errf("the ando option is given twice")
	}
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	app := new(andocaddy.App)
	ids := routeIDs{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := parseOptionWord(d, app, ids); err != nil {
			return nil, err
		}
	}
	return httpcaddyfile.App{Name: "ando", Value: caddyconfig.JSON(app, nil)}, nil
}

func parseOptionWord(d *caddyfile.Dispenser, app *andocaddy.App, ids routeIDs) (err error) {
	switch word := d.Val(); word {
	case "admin":
		return parseAdminOption(d, app)
	case "control":
		return parseControlOption(d, app)
	case "status":
		return parseStatusOption(d, app)
	case "store":
		app.StoreRaw, err = parseStore(d)
		return err
	case "router":
		if !d.AllArgs(&app.Router) {
			return d.Errf("router takes one name")
		}
	case "lane":
		if !d.AllArgs(&app.Lane) {
			return d.Errf("lane takes one of auto, ring, poll and off")
		}
	case "cache_zone":
		return parseCacheZone(d, app)
	case "discovery":
		return parseDiscovery(d, app)
	case "stream":
		return parseStream(d, app)
	case "config_api":
		if !d.AllArgs(&app.ConfigAPI) {
			return d.Errf("config_api takes the address of Caddy's admin endpoint, or off")
		}
	case "certificate_wait":
		text, err := one(d)
		if err != nil {
			return err
		}
		wait, err := caddy.ParseDuration(text.Text)
		if err != nil || wait <= 0 {
			return d.Errf("certificate_wait: %q is no duration like 10s", text.Text)
		}
		app.CertificateWait = caddy.Duration(wait)
	case "fallback_sni":
		if !d.AllArgs(&app.FallbackSNI) {
			return d.Errf("fallback_sni takes one name")
		}
	case "trusted_addresses":
		words, err := some(d)
		app.TrustedAddresses = append(app.TrustedAddresses, words...)
		return err
	case "trusted_certificates":
		if !d.AllArgs(&app.TrustedCertificates) {
			return d.Errf("trusted_certificates takes files with commas between them")
		}
	case "plugins":
		words, err := some(d)
		app.Plugins = append(app.Plugins, words...)
		return err
	case "show_upstream_status":
		app.ShowUpstreamStatus, err = flag(d)
		return err
	case "plugin_metadata":
		o, err := parseMetadata(d)
		app.Objects = append(app.Objects, o)
		return err
	case "route":
		o, err := parseRoute(d, site{}, ids)
		app.Objects = append(app.Objects, o)
		return err
	default:
		if _, ok := named[word]; !ok {
			known := optionWords
			for word := range named {
				known = append(known[:len(known):len(known)], word)
			}
			return unknown(d, "ando", known)
		}
		o, err := parseNamed(d)
		app.Objects = append(app.Objects, o)
		return err
	}
	return nil
}

func parseAdminOption(d *caddyfile.Dispenser, app *andocaddy.App) error {
	if app.Admin != nil {
		return d.Errf("admin is given twice")
	}
	app.Admin = new(andocaddy.AdminConfig)
	address, err := one(d)
	if err != nil {
		return d.Errf("admin takes an address, or off")
	}
	if app.Admin.Listen = address.Text; address.Text == "off" {
		app.Admin.Listen, app.Admin.Disabled = "", true
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "key":
			args := d.RemainingArgs()
			if len(args) < 2 || len(args) > 3 || args[1] == "" {
				return d.Errf("key takes a name, the key and maybe a role (admin or viewer); is an environment variable empty?")
			}
			key := andocaddy.AdminKey{Name: args[0], Key: args[1]}
			if len(args) == 3 {
				key.Role = args[2]
			}
			app.Admin.Keys = append(app.Admin.Keys, key)
		case "origins":
			origins, err := some(d)
			if err != nil {
				return err
			}
			app.Admin.Origins = append(app.Admin.Origins, origins...)
		case "hosts":
			hosts, err := some(d)
			if err != nil {
				return err
			}
			app.Admin.Hosts = append(app.Admin.Hosts, hosts...)
		default:
			return unknown(d, "admin", []string{"hosts", "key", "origins"})
		}
	}
	return nil
}

func parseControlOption(d *caddyfile.Dispenser, app *andocaddy.App) error {
	address, err := one(d)
	if err != nil || app.Control != nil {
		return d.Errf("control takes an address, or off, once")
	}
	app.Control = &andocaddy.ControlConfig{Listen: address.Text}
	if address.Text == "off" {
		app.Control = &andocaddy.ControlConfig{Disabled: true}
	}
	return nil
}

func parseStatusOption(d *caddyfile.Dispenser, app *andocaddy.App) error {
	address, err := one(d)
	if err != nil || app.Status != nil {
		return d.Errf("status takes an address, or off, once")
	}
	if address.Text != "off" {
		app.Status = &andocaddy.StatusConfig{Listen: address.Text}
	}
	return nil
}

func parseStore(d *caddyfile.Dispenser) (json.RawMessage, error) {
	if !d.NextArg() {
		return nil, d.Errf("store takes the name of a store: bolt, file, memory or standalone")
	}
	name := d.Val()
	if _, err := caddy.GetModule("ando.stores." + name); err != nil {
		var known []string
		for _, module := range caddy.GetModules("ando.stores") {
			known = append(known, module.ID.Name())
		}
		return nil, choice(d, "store", name, known)
	}
	module, err := caddyfile.UnmarshalModule(d, "ando.stores."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(module, "module", name, nil), nil
}
