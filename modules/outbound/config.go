// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"encoding/json"
	"time"
)

// ParseOptions reads the members that APISIX's plugins have in common which call a service: timeout and
// keepalive_timeout in milliseconds, keepalive, keepalive_pool and ssl_verify.
func ParseOptions(config json.RawMessage) (Options, error) {
	var c struct {
		Timeout          int64 `json:"timeout"`
		KeepAlive        *bool `json:"keepalive"`
		KeepAliveTimeout int64 `json:"keepalive_timeout"`
		KeepAlivePool    int   `json:"keepalive_pool"`
		SSLVerify        *bool `json:"ssl_verify"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return Options{}, err
	}
	no := func(flag *bool) bool { return flag != nil && !*flag }
	return Options{
		Timeout:          time.Duration(c.Timeout) * time.Millisecond,
		SkipVerify:       no(c.SSLVerify),
		CloseAfterUse:    no(c.KeepAlive),
		KeepAliveTimeout: time.Duration(c.KeepAliveTimeout) * time.Millisecond,
		KeepAlivePool:    c.KeepAlivePool,
	}, nil
}
