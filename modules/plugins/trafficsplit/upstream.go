// SPDX-License-Identifier: Apache-2.0

package trafficsplit

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"weak"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/upstream"
)

// made has the upstreams of rules by their place, newest last, as long as some config has them: the one that is compiled
// next for a place goes on with their nodes, and with what those have counted.
var made = struct {
	sync.Mutex
	at map[string][]weak.Pointer[gateway.Upstream]
	// live is how many places were left when it was last looked.
	live int
}{at: make(map[string][]weak.Pointer[gateway.Upstream])}

// compileUpstream compiles the upstream of a rule, once for each config. `checks` and `retries` have no effect, as in
// APISIX.
func compileUpstream(env gateway.Env, place string, raw json.RawMessage) (*gateway.Upstream, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("traffic-split: upstream: %w", err)
	}
	for _, ignored := range [...]string{"checks", "retries", "retry_timeout"} {
		delete(fields, ignored)
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("traffic-split: upstream: %w", err)
	}
	made.Lock()
	defer made.Unlock()
	if len(made.at) > 2*made.live+64 {
		forgetDead()
	}
	var prior *gateway.Upstream
	known := living(made.at[place])
	if n := len(known); n > 0 {
		prior = known[n-1].Value()
	}
	compile := env.Upstreams
	if compile == nil {
		compile = func(key string, config json.RawMessage, prior *gateway.Upstream) (*gateway.Upstream, error) {
			return upstream.Compile(key, config, prior, upstream.Surroundings{})
		}
	}
	u, err := compile(place, raw, prior)
	if err != nil {
		return nil, err
	}
	made.at[place] = append(known, weak.Make(u))
	return u, nil
}

// forgetDead drops what no config has any more.
func forgetDead() {
	for place, known := range made.at {
		if known = living(known); len(known) == 0 {
			delete(made.at, place)
		} else {
			made.at[place] = known
		}
	}
	made.live = len(made.at)
}

func living(known []weak.Pointer[gateway.Upstream]) []weak.Pointer[gateway.Upstream] {
	return slices.DeleteFunc(known, func(p weak.Pointer[gateway.Upstream]) bool { return p.Value() == nil })
}
