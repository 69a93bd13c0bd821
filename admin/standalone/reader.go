// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// Reader reads the objects of a file that is followed while the gateway serves.
type Reader struct {
	// Path says by its ending whether the file is JSON or YAML.
	Path    string
	Checker Checker
	Log     func() *zap.Logger
}

// Objects returns the objects in the text of the file. An item that is not good is logged, and what prior has of it stays,
// if anything; a route that went would leave its requests to a wider one. A global rule that is not good and was never
// good is an error: without it every request would pass what it is for.
func (r *Reader) Objects(raw []byte, prior func(gateway.Kind, string) (gateway.Object, bool)) ([]gateway.Object, error) {
	doc, err := ParseFile(r.Path, raw, Environment)
	if err != nil {
		return nil, err
	}
	objects, findings := doc.Objects(r.Checker)
	good := make(map[string]bool, len(objects))
	for _, o := range objects {
		good[o.Key()] = true
	}
	for _, f := range findings {
		kept := false
		if f.object != nil && !good[f.object.Key()] {
			var before gateway.Object
			if before, kept = prior(f.object.Kind, f.object.ID); kept {
				objects = append(objects, before)
				good[before.Key()] = true
			}
		}
		if !kept && f.Section == string(gateway.GlobalRules) {
			return nil, fmt.Errorf("a global rule cannot be left out: %w", f)
		}
		r.Log().Error("item of the file cannot be used", zap.String("path", r.Path), zap.Error(f), zap.Bool("keeps_its_last_version", kept))
	}
	for _, name := range doc.Unknown() {
		r.Log().Warn("member of the file stands for nothing", zap.String("path", r.Path), zap.String("name", name))
	}
	return objects, nil
}
