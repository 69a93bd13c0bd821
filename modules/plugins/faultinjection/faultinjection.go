// SPDX-License-Identifier: Apache-2.0

// Package faultinjection is APISIX's fault-injection plugin: it delays and aborts requests, to see what clients make of it.
package faultinjection

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/fields"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

const name = "fault-injection"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 11000, Version: 0.1, Blocking: true, Schema: configSchema, New: compile,
	})
}

// fault is one compiled config. It is immutable.
type fault struct {
	delays, aborts bool

	delay     chance
	duration  time.Duration
	abort     chance
	status    int
	body      *expr.Template
	fields    []fields.Field
	readsBody bool
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	type condition struct {
		Percentage *int              `json:"percentage"`
		Vars       []json.RawMessage `json:"vars"`
	}
	var c struct {
		Delay *struct {
			condition
			Duration float64 `json:"duration"`
		} `json:"delay"`
		Abort *struct {
			condition
			Status  int             `json:"http_status"`
			Body    *string         `json:"body"`
			Headers json.RawMessage `json:"headers"`
		} `json:"abort"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("fault-injection: %w", err)
	}
	f := new(fault)
	var err error
	if c.Delay != nil {
		f.delays, f.duration = true, seconds(c.Delay.Duration)
		if f.delay, err = f.newChance(c.Delay.Percentage, c.Delay.Vars); err != nil {
			return nil, err
		}
	}
	if c.Abort != nil {
		f.aborts, f.status = true, c.Abort.Status
		if err := reply.CheckStatus("http_status", f.status); err != nil {
			return nil, fmt.Errorf("property \"abort\" validation failed: %w", err)
		}
		if f.abort, err = f.newChance(c.Abort.Percentage, c.Abort.Vars); err != nil {
			return nil, err
		}
		if c.Abort.Body != nil {
			f.body = expr.ParseTemplate(*c.Abort.Body)
		}
		if f.fields, err = fields.CompileResponse(c.Abort.Headers); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// maxDelay is longer than anybody waits, and no number of seconds that a Duration cannot hold gets past it.
const maxDelay = 24 * time.Hour

func seconds(s float64) time.Duration {
	if s >= maxDelay.Seconds() {
		return maxDelay
	}
	return time.Duration(s * float64(time.Second))
}

// Blocks implements gateway.Blocker: a config that delays every request waits anyway. Others say so when they have to.
func (f *fault) Blocks() bool { return f.delays && f.delay.always() }

// bodyLimit bounds the body that conditions look at: APISIX's max_post_args_readable_size.
const bodyLimit = 64 << 20

// ReadsBody implements gateway.BodyReader.
func (f *fault) ReadsBody() int64 {
	if f.readsBody {
		return bodyLimit
	}
	return 0
}

// waits is what State holds when the request is to be delayed.
var waits = new(struct{ _ byte })

// Rewrite implements gateway.Rewriter. A delay comes first; the client need not sit it out.
func (f *fault) Rewrite(x *gateway.Exchange) gateway.Verdict {
	if f.delays {
		if state := x.State(); *state == nil {
			if f.delay.hit(x) {
				*state = waits
				return gateway.Wait
			}
		} else if !f.sleep(x) {
			return x.Exit(clientGone, nil)
		}
	}
	if !f.aborts || !f.abort.hit(x) {
		return gateway.Continue
	}
	for i := range f.fields {
		f.fields[i].SetResponse(x)
	}
	if f.body == nil {
		return x.Exit(f.status, nil)
	}
	return x.Exit(f.status, f.body.Append([]byte{}, x))
}

// clientGone is nginx's status for a client that did not wait; nobody is there to read it.
const clientGone = 499

// sleep returns false when the client has gone.
func (f *fault) sleep(x *gateway.Exchange) bool {
	timer := time.NewTimer(f.duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-x.Context().Done():
		return false
	}
}

var (
	_ gateway.Rewriter   = (*fault)(nil)
	_ gateway.Blocker    = (*fault)(nil)
	_ gateway.BodyReader = (*fault)(nil)
)
