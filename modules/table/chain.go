// SPDX-License-Identifier: Apache-2.0

package table

import (
	"encoding/json"
	"fmt"

	"github.com/andogate/ando/modules/gateway"
)

// Chain compiles plugins that stand in no object, by name with their configs. owner is what they are told as their
// object's key. References in them are resolved now or never. The error is a *gateway.Refusal.
func (c *Compiler) Chain(owner string, plugins map[string]json.RawMessage) (*gateway.Chain, error) {
	for name, config := range plugins {
		if _, unknown := c.Secrets.Substitute(config); len(unknown) > 0 {
			return nil, refusal(fmt.Errorf("plugin %s: %s", name, unresolved(unknown)))
		}
	}
	reader := pluginReader{compiler: c}
	set, err := reader.compile(owner, plugins, nil)
	if err != nil {
		return nil, refusal(err)
	}
	return gateway.NewChain(set.entries), nil
}
