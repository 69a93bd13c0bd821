// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
)

// Recompile compiles objects anew whose text has not changed, since what they refer to outside of the gateway has. It
// returns when that is served; the store is not touched. Objects that have been changed or deleted since the caller read
// them are left alone, and so is one that cannot be compiled: it is served as before, and the error says why.
func (g *Gateway) Recompile(ctx context.Context, objects ...Object) error {
	if len(objects) == 0 {
		return nil
	}
	_, err := g.enqueue(&task{ctx: ctx, do: func() error {
		v := g.current.Load()
		var changes []Change
		for _, o := range objects {
			if live, ok := v.table.Object(o.Kind, o.ID); ok && live.Modified == o.Modified {
				changes = append(changes, Change{Object: live})
			}
		}
		if len(changes) == 0 {
			return nil
		}
		table, err := g.with(v.table, changes)
		if err != nil {
			var faults []error
			table, faults = g.withEach(v.table, changes)
			err = errors.Join(faults...)
		}
		g.publish(table, v.settings)
		return err
	}})
	return err
}
