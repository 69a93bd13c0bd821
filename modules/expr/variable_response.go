// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// responseVars tell what became of the request, and the time.
var responseVars = map[string]Var{
	"status": always(func(x *gateway.Exchange) string { return statusText(x.Response.Status) }),
	"request_time": always(func(x *gateway.Exchange) string {
		if x.Start.IsZero() {
			return "0.000"
		}
		return string(appendSeconds(nil, time.Since(x.Start)))
	}),
	"msec": always(func(*gateway.Exchange) string {
		return string(appendSeconds(nil, time.Duration(time.Now().UnixMilli())*time.Millisecond))
	}),
	"time_iso8601": always(func(*gateway.Exchange) string { return time.Now().Format("2006-01-02T15:04:05-07:00") }),
	"time_local":   always(func(*gateway.Exchange) string { return time.Now().Format("02/Jan/2006:15:04:05 -0700") }),
}

// threeDigits holds 000 to 999 one after the other, so that the text of a status is a part of it.
var threeDigits = func() string {
	all := make([]byte, 0, 3000)
	for n := range 1000 {
		all = append(all, byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
	}
	return string(all)
}()

// statusText returns a status in three digits; 000 is none yet, as in nginx.
func statusText(status int) string {
	if status < 0 || status > 999 {
		status = 0
	}
	return threeDigits[3*status : 3*status+3]
}

func responseField(name string) variable {
	return variable{text: func(x *gateway.Exchange) (string, bool) { return field(&x.Response.Header, name, ", ") }}
}

// nodeField reads a response field that the node sent, as far as no filter changed it.
func nodeField(name string) variable {
	return variable{text: func(x *gateway.Exchange) (string, bool) {
		if !x.Response.FromNode {
			return "", false
		}
		return field(&x.Response.Header, name, ", ")
	}}
}
