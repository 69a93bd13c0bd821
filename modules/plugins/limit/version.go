// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// version names a config by its content: equal configs have equal versions in every gateway. How Redis is logged in to is
// no part of it, so that a new password does not start all counters anew, and nothing secret goes into the names of keys.
func version(config json.RawMessage) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(config, &fields) == nil {
		for _, name := range [...]string{"redis_username", "redis_password", "sentinel_username", "sentinel_password"} {
			delete(fields, name)
		}
		if canonical, err := json.Marshal(fields); err == nil {
			config = canonical
		}
	}
	sum := sha256.Sum256(config)
	return hex.EncodeToString(sum[:8])
}
