// SPDX-License-Identifier: Apache-2.0

package faultinjection

import (
	"encoding/json"
	"math/rand/v2"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
)

// chance says which requests a fault is for. It is immutable.
type chance struct {
	percentage int
	// conditional says that one of conditions has to hold.
	conditional bool
	conditions  []*expr.Expr
}

// newChance compiles `percentage` and `vars`.
func (f *fault) newChance(percentage *int, vars []json.RawMessage) (chance, error) {
	c := chance{percentage: 100, conditional: vars != nil}
	if percentage != nil {
		c.percentage = *percentage
	}
	for _, raw := range vars {
		condition, err := expr.Compile(raw)
		if err != nil {
			return c, err
		}
		f.readsBody = f.readsBody || condition.ReadsBody
		c.conditions = append(c.conditions, condition)
	}
	return c, nil
}

func (c *chance) always() bool { return c.percentage == 100 && !c.conditional }

// hit draws a lot for the request, if the conditions hold.
func (c *chance) hit(x *gateway.Exchange) bool {
	if c.conditional && !c.holds(x) {
		return false
	}
	return c.percentage == 100 || rand.IntN(100) < c.percentage
}

func (c *chance) holds(x *gateway.Exchange) bool {
	for _, condition := range c.conditions {
		if condition.Match == nil || condition.Match(x) {
			return true
		}
	}
	return false
}
