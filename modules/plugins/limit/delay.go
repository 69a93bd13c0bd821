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

// Delay is how long a request has to wait. It is kept in the exchange's State while gateway.Wait takes the hook to where it
// may wait; that costs an allocation, which is nothing beside the wait.
type Delay time.Duration
