// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"fmt"
	"sync"

	"go.uber.org/zap"
)

// laneKinds are the values of the `lane` option: which event loops serve plain HTTP/1.1.
var laneKinds = []string{"auto", "ring", "poll", "off"}

// lanes are the event loops of the process: made when the first config asks for them, and never ended by a config. What
// they point at is the ports' business.
var lanes struct {
	mu     sync.Mutex
	byKind map[string]*laneSet
}

// lanesOf returns the loops of a kind, or nil for "off". "auto" takes the ring where the kernel has it,
// epoll elsewhere on Linux, and none on other systems.
func lanesOf(kind string, log *zap.Logger) (*laneSet, error) {
	if kind == "off" {
		return nil, nil
	}
	lanes.mu.Lock()
	defer lanes.mu.Unlock()
	if set, ok := lanes.byKind[kind]; ok {
		return set, nil
	}
	set, err := openLanes(kind, log)
	if err != nil && kind == "auto" {
		log.Info("no event loops on this system; Go's HTTP server serves", zap.Error(err))
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("lane %s: %w", kind, err)
	}
	if lanes.byKind == nil {
		lanes.byKind = map[string]*laneSet{}
	}
	lanes.byKind[kind] = set
	return set, nil
}
