// SPDX-License-Identifier: Apache-2.0

package redistest

import (
	"context"
	"encoding/json"
	"sync"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
)

// Wire is the wire of exchanges whose hooks may wait.
type Wire struct{ Ctx context.Context }

// Context implements gateway.Wire.
func (w Wire) Context() context.Context { return w.Ctx }

// ReadBody implements gateway.Wire.
func (w Wire) ReadBody(int64) ([]byte, error) { return nil, nil }

// Open returns a gateway with one route that has these plugins, given as a JSON object.
func Open(t testing.TB, plugins string) *gateway.Gateway {
	t.Helper()
	return gatewaytest.Open(t, gateway.Object{
		Kind: gateway.Routes, ID: "1",
		Value: json.RawMessage(`{"id":"1","uri":"/*","plugins":` + plugins + `,"upstream":{"nodes":{"127.0.0.1:1":1}}}`),
	})
}

// Request takes one GET through the hooks of the gateway up to where it would be forwarded or answered. The exchange can be
// looked at until it is Reset; Finish is the caller's.
func Request(ctx context.Context, g *gateway.Gateway, x *gateway.Exchange, user string) gateway.Step {
	x.Request.Method, x.Request.Host, x.Request.Path, x.Request.EscapedPath = "GET", "h", "/a", "/a"
	x.Request.Header.Add("X-User", user)
	g.Begin(x, Wire{ctx})
	return x.Next(true)
}

// Burst sends so many requests of one user to each of the gateways, from eight goroutines each, and counts what is
// admitted.
func Burst(t testing.TB, gateways []*gateway.Gateway, user string, each int) (admitted int) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	const workers = 8
	for _, g := range gateways {
		for range workers {
			all.Go(func() {
				x := new(gateway.Exchange)
				for range each / workers {
					step := Request(t.Context(), g, x, user)
					if step == gateway.StepForward {
						mu.Lock()
						admitted++
						mu.Unlock()
					} else if x.Response.Status == 500 {
						t.Errorf("500: %s", x.Response.Body)
					}
					x.Finish()
					x.Reset()
				}
			})
		}
	}
	all.Wait()
	return admitted
}
