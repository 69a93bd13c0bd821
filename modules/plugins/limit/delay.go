// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// Sleep waits, or until the client has gone. Only a hook that may wait calls it.
func Sleep(x *gateway.Exchange, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-x.Context().Done():
	}
}

// Worthwhile reports whether a delay is one: APISIX does not sleep for less than a millisecond.
func Worthwhile(delay time.Duration) bool { return delay >= time.Millisecond }

// Delay has a request wait: it is kept in the exchange's State while gateway.Wait takes the hook to where it may. Values
// below 256 ns would be boxed without an allocation; those that are Worthwhile cost one, which is nothing beside a wait.
type Delay time.Duration
