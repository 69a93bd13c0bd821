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

// LoopsAccept reports whether event loops accept the connections of an address of the network "ando" themselves.
func LoopsAccept(addr string) (yes bool) {
	sockets.Range(func(key, value any) bool {
		if s := value.(*socket); key == addr {
			s.mu.Lock()
			yes = s.port != nil
			s.mu.Unlock()
		}
		return true
	})
	return yes
}
