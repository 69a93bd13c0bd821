// SPDX-License-Identifier: Apache-2.0

package limitcount

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

// arrival is one request of the model tests.
type arrival struct {
	at   time.Time
	user string
}

// arrivals are random ones of three users, by a clock that runs in bursts and stands still now and then.
func arrivals(seed uint64, n int) []arrival {
	random := rand.New(rand.NewPCG(seed, 7))
	at := time.Unix(1_700_000_000+random.Int64N(1000), random.Int64N(1e9))
	all := make([]arrival, n)
	for i := range all {
		switch random.IntN(20) {
		case 0:
			at = at.Add(time.Duration(random.Int64N(int64(25 * time.Second))))
		case 1, 2, 3, 4, 5, 6:
			at = at.Add(time.Duration(random.Int64N(int64(time.Second))))
		}
		all[i] = arrival{at, fmt.Sprint("u", random.IntN(3))}
	}
	return all
}

// verdict is what a request of the model tests came to.
type verdict struct {
	admitted  bool
	remaining int
	reset     string
}

// fixedTwin keeps the requests of each user's window in a list.
type fixedTwin struct {
	limit   int
	window  time.Duration
	windows map[string][]time.Time
}

func (f *fixedTwin) take(a arrival) verdict {
	requests := f.windows[a.user]
	if len(requests) > 0 && !a.at.Before(requests[0].Add(f.window)) {
		requests = nil
	}
	requests = append(requests, a.at)
	f.windows[a.user] = requests
	return verdict{
		len(requests) <= f.limit, max(0, f.limit-len(requests)),
		hundredths(requests[0].Add(f.window).Sub(a.at).Seconds()),
	}
}

// slidingTwin keeps all requests that were admitted.
type slidingTwin struct {
	limit    int
	window   time.Duration
	admitted map[string][]time.Time
}

func (s *slidingTwin) take(a arrival) verdict {
	begin := time.Unix(a.at.Unix()/int64(s.window.Seconds())*int64(s.window.Seconds()), 0)
	now, before := 0, 0
	for _, at := range s.admitted[a.user] {
		switch {
		case !at.Before(begin):
			now++
		case !at.Before(begin.Add(-s.window)):
			before++
		}
	}
	left := begin.Add(s.window).Sub(a.at).Seconds()
	rate := math.Min(float64(before), float64(s.limit)) / s.window.Seconds()
	switch {
	case now >= s.limit:
		return verdict{false, 0, hundredths(left)}
	case rate*left+float64(now) >= float64(s.limit):
		return verdict{false, 0, hundredths(left - float64(s.limit-now)/rate)}
	}
	s.admitted[a.user] = append(s.admitted[a.user], a.at)
	return verdict{true, max(0, int(math.Floor(float64(s.limit-now-1)-rate*left))), hundredths(left)}
}

// hundredths are seconds as the response says them: rounded up. What a float adds is left out.
func hundredths(seconds float64) string {
	return strconv.FormatFloat(math.Ceil(math.Max(0, seconds)*100-1e-6)/100, 'f', -1, 64)
}

// TestModel: exactly those requests are admitted that a naive twin admits, with the same fields.
func TestModel(t *testing.T) {
	for seed := range uint64(20) {
		limit, window := 1+int(seed%7), time.Duration(1+seed%9)*time.Second
		for kind, twin := range map[string]interface{ take(arrival) verdict }{
			"fixed":   &fixedTwin{limit, window, make(map[string][]time.Time)},
			"sliding": &slidingTwin{limit, window, make(map[string][]time.Time)},
		} {
			x := plugintest.Open(t, fmt.Sprintf(
				`{"limit-count":{"count":%d,"time_window":%d,"window_type":%q,"key":"http_x_user","rejected_msg":"model %d"}}`,
				limit, int(window.Seconds()), kind, seed))
			admitted := 0
			for i, a := range arrivals(seed, 1500) {
				want := twin.take(a)
				step := x.Run(func(x *gateway.Exchange) {
					x.Start = a.at
					x.Request.Header.Add("X-User", a.user)
				})
				h := &x.Response.Header
				remaining, _ := strconv.Atoi(h.Get("X-RateLimit-Remaining"))
				got := verdict{step == gateway.StepForward, remaining, h.Get("X-RateLimit-Reset")}
				if got != want {
					t.Fatalf("%s, %d in %v: request %d of %s at %v: got %+v, want %+v", kind, limit, window, i, a.user, a.at, got, want)
				}
				if got.admitted {
					admitted++
				}
			}
			if admitted == 0 || admitted == 1500 {
				t.Errorf("%s: %d admitted: the model shows nothing", kind, admitted)
			}
		}
	}
}

// TestCosts: in a fixed window a request is admitted when all that it costs has room, and counts in any case.
func TestCosts(t *testing.T) {
	instance, err := plugintest.Compile(t, name, `{"count":10,"time_window":60,"key":"TestCosts","key_type":"constant"}`)
	if err != nil {
		t.Fatal(err)
	}
	limiter := instance.(*limitCount).limiter
	key := limiter.rules[0].scope.Key("TestCosts")
	for i, c := range []struct {
		cost, remaining int64
		admitted        bool
	}{{8, 2, true}, {5, 0, false}, {1, 0, false}, {MaxCost, 0, false}} {
		s := fix(key, quota{limit: 10, window: int64(time.Minute), cost: c.cost, now: 1})
		if s.admitted != c.admitted || s.remaining != c.remaining {
			t.Errorf("%d: got %+v, want %+v", i, s, c)
		}
	}
}

// TestLate: a request that was overtaken by those of the next window neither opens the old one again nor ends the new one.
func TestLate(t *testing.T) {
	var w sliding
	window := int64(time.Second)
	at := func(now, limit int64) state { return w.admit(quota{limit: limit, window: window, cost: 1, now: now}) }
	at(10*window+1, 100)
	at(11*window+1, 100)
	if s := at(10*window+2, 100); !s.admitted || s.reset != window || w.used != 2 || w.before != 1 || w.id != 11 {
		t.Errorf("got %+v, and the window %+v", s, w)
	}
}
