// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// Credential is a gateway.Plugin's NewCredential for consumers that are known by the name of an entry.
func Credential(_ gateway.Env, config json.RawMessage) (key string, credential any, err error) {
	var c struct {
		UserDN string `json:"user_dn"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return "", nil, fmt.Errorf("user_dn: %w", err)
	}
	return NormalDN(c.UserDN), nil, nil
}

// Typed returns what somebody typed without the line break that many clients encode with it.
func Typed(text string) string { return strings.TrimRight(text, "\r\n") }
