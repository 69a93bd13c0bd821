// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	andocaddy "github.com/andogate/ando/modules/caddy"
)

//go:embed Caddyfile
var builtInCaddyfile []byte

// builtInAdapter is the name of the config adapter that yields the built-in configuration, whatever file it is given.
// Being an adapter it works with every flag of the command, and with a reload by signal.
const builtInAdapter = "ando_built_in"

// wantsBuiltIn reports whether the command line says run and nothing about a configuration, and none lies about.
func wantsBuiltIn(args []string, exists func(string) bool) bool {
	if len(args) < 2 || args[1] != "run" || exists("Caddyfile") {
		return false
	}
	for _, arg := range args[2:] {
		name, _, _ := strings.Cut(arg, "=")
		switch {
		case name == "--config" || name == "--adapter" || name == "--resume" || name == "--help":
			return false
		case strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && strings.ContainsAny(name, "carh"):
			return false
		}
	}
	return true
}

// builtIn is the built-in configuration, fitted to the machine it runs on.
type builtIn struct {
	// caddyAdmin is the address of Caddy's own admin endpoint; taken says that another process has it. Then it stays
	// off: Caddy's listeners can be shared, and half of the requests would go to the other process.
	caddyAdmin string
	taken      bool
}

func newBuiltIn(caddyAdmin string) *builtIn {
	b := &builtIn{caddyAdmin: caddyAdmin}
	if _, _, err := net.SplitHostPort(caddyAdmin); err == nil {
		ln, err := net.Listen("tcp", caddyAdmin)
		if b.taken = err != nil; !b.taken {
			_ = ln.Close()
		}
	}
	caddyconfig.RegisterAdapter(builtInAdapter, b)
	return b
}

// args is what the command line lacks. The file is an empty one that every system has.
func (b *builtIn) args() []string {
	return []string{"--config", os.DevNull, "--adapter", builtInAdapter}
}

// Adapt returns the built-in configuration.
func (b *builtIn) Adapt(_ []byte, options map[string]any) ([]byte, []caddyconfig.Warning, error) {
	raw, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(builtInCaddyfile, options)
	if err != nil || !b.taken {
		return raw, warnings, err
	}
	var config map[string]json.RawMessage
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, warnings, err
	}
	config["admin"] = json.RawMessage(`{"disabled":true,"config":{"persist":false}}`)
	raw, err = json.Marshal(config)
	return raw, warnings, err
}

// announce says where things are, once they are there.
func (b *builtIn) announce(w io.Writer) {
	for ; ; time.Sleep(20 * time.Millisecond) {
		ctx := caddy.ActiveContext()
		module, err := ctx.AppIfConfigured("ando")
		if err != nil {
			continue
		}
		app := module.(*andocaddy.App)
		fmt.Fprintf(w, "\nAndo serves its built-in configuration:\n"+
			"  gateway    http://localhost:%s\n"+
			"  with TLS   https://localhost:%s for the names of ssl objects\n"+
			"  Admin API  http://%s/apisix/admin\n"+
			"  store      %s\n", envOr("ANDO_PORT", "9080"), envOr("ANDO_TLS_PORT", "9443"), app.AdminAddress(), app.StoreLocation())
		if b.taken {
			fmt.Fprintf(w, "  `ando reload` and `ando stop` do not reach this process: %s is taken\n", b.caddyAdmin)
		}
		fmt.Fprintf(w, "Next: curl http://%s/apisix/admin/routes, or write a Caddyfile and run again.\n\n", app.AdminAddress())
		return
	}
}

func envOr(name, standard string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return standard
}

var _ caddyconfig.Adapter = (*builtIn)(nil)
