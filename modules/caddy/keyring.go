// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"path/filepath"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/andogate/ando/modules/secret"
)

// keyed is implemented by stores that say where the keys are with which fields of their objects are encrypted. The keys of
// others are in Caddy's data directory.
type keyed interface {
	// KeyPath is the path of a file beside the store; empty when nothing outlives the process.
	KeyPath() string
}

// processKeyring is for what does not outlive the process.
var processKeyring = sync.OnceValue(secret.Generate)

// keyringOf opens the keyring of a store, and makes one when there is none.
func keyringOf(store Store, log *zap.Logger) (*secret.Keyring, error) {
	path := filepath.Join(caddy.AppDataDir(), "ando", "keyring")
	if s, ok := store.(keyed); ok {
		path = s.KeyPath()
	}
	if path == "" {
		return processKeyring(), nil
	}
	keyring, made, err := secret.Open(path)
	if made {
		log.Info("a key was made; without it nobody can read the secrets in the store", zap.String("file", path))
	}
	return keyring, err
}
