// SPDX-License-Identifier: Apache-2.0

package andocaddy

// LaneConns returns how many connections the event loops of a kind have.
func LaneConns(kind string) (n int) {
	lanes.mu.Lock()
	set := lanes.byKind[kind]
	lanes.mu.Unlock()
	if set == nil {
		return 0
	}
	for _, loop := range set.loops {
		n += loop.Conns()
	}
	return n
}
