// SPDX-License-Identifier: Apache-2.0

package graphqllimitcount

import (
	"context"
	"errors"
	"testing"
)

// wire is the wire of exchanges whose hooks may wait.
type wire struct{ t *testing.T }

func (w wire) Context() context.Context { return w.t.Context() }

func (w wire) ReadBody(int64) ([]byte, error) { return nil, errors.New("the body is read beforehand") }
