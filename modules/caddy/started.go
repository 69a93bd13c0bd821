// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// startedApps are the apps that have been started and not stopped; the newest is the last.
type startedApps struct {
	mu   sync.RWMutex
	apps []*App
}

var started startedApps

func (s *startedApps) push(a *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps = append(s.apps, a)
}

func (s *startedApps) remove(a *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps = slices.DeleteFunc(s.apps, func(other *App) bool { return other == a })
}

// newest returns nil when no gateway is running.
func (s *startedApps) newest() *App {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.apps) == 0 {
		return nil
	}
	return s.apps[len(s.apps)-1]
}

// newestLog is the logger of the newest config: those before it have been closed.
func newestLog() *zap.Logger {
	if a := started.newest(); a != nil {
		return a.log
	}
	return caddy.Log().Named("ando")
}
