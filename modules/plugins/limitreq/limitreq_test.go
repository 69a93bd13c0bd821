// SPDX-License-Identifier: Apache-2.0

package limitreq

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/limit"
	"github.com/andogate/ando/modules/plugins/limit/redistest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{Text: `{"rate":1,"burst":0,"key":"remote_addr"}`},
		{Text: `{"rate":0.1,"burst":0.5,"key":"$a","key_type":"var_combination","policy":"redis","redis_host":"127.0.0.1"}`},
		{Text: `{"burst":0,"key":"remote_addr"}`, Want: `property "rate" is required`},
		{Text: `{"rate":1,"burst":0}`, Want: `property "key" is required`},
		{Text: `{"rate":0,"burst":0,"key":"k"}`, Want: `property "rate" validation failed: expected 0 to be greater than 0`},
		{Text: `{"rate":1,"burst":-1,"key":"k"}`, Want: `property "burst" validation failed: expected -1 to be at least 0`},
		{Text: `{"rate":1,"burst":0,"key":"k","policy":"redis"}`, Want: "then clause did not match"},
		{Text: `{"rate":1,"burst":0,"key":"k","policy":"redis-cluster"}`, Want: "else clause did not match"},
		{Text: `{"rate":1,"burst":0,"key":"k","policy":"redis-sentinel"}`, Want: `property "policy" validation failed: matches none of the enum values`},
	})
}

// twin keeps when each request leaves the bucket. The next one leaves a turn after the last, or at once.
type twin struct {
	turn, burst float64
	leaves      map[string]float64
}

func (w *twin) pass(user string, at float64) (delay float64, admitted bool) {
	leave, came := w.leaves[user]
	leave = math.Max(at, leave+w.turn)
	if !came {
		leave = at
	}
	if (leave-at)/w.turn > w.burst {
		return 0, false
	}
	w.leaves[user] = leave
	return leave - at, true
}

type arrival struct {
	at   time.Duration
	user string
}

func arrivals(seed uint64, n int) []arrival {
	random := rand.New(rand.NewPCG(seed, 11))
	at := time.Duration(0)
	all := make([]arrival, n)
	for i := range all {
		if random.IntN(3) > 0 {
			// Odd fractions, so that no request comes at the very moment at which another leaves.
			at += time.Duration(random.Int64N(int64(100*time.Millisecond)))/8*8 + 3
		}
		all[i] = arrival{at, fmt.Sprint("u", random.IntN(3))}
	}
	return all
}

// TestModel: exactly those requests are admitted that a naive twin admits, and as late.
func TestModel(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	for seed := range uint64(20) {
		rate, burst := []float64{0.7, 2, 3.3, 4.1}[seed%4], []float64{0.1, 1.1, 2.6, 7.2, 20.3}[seed%5]
		instance, err := plugintest.Compile(t, name,
			fmt.Sprintf(`{"rate":%v,"burst":%v,"key":"http_x_user","rejected_msg":"model %d"}`, rate, burst, seed))
		if err != nil {
			t.Fatal(err)
		}
		l := instance.(*limitReq)
		w := twin{1 / rate, burst, make(map[string]float64)}
		admitted, delayed := 0, 0
		for i, a := range arrivals(seed, 2000) {
			x := new(gateway.Exchange)
			x.Start = start.Add(a.at)
			delay, ok, _ := l.pass(x, []byte(a.user))
			wantDelay, want := w.pass(a.user, a.at.Seconds())
			if ok != want || ok && math.Abs(delay.Seconds()-wantDelay) > 1e-6 {
				t.Fatalf("rate %v, burst %v: request %d of %s at %v: got %v after %v, want %v after %vs",
					rate, burst, i, a.user, a.at, ok, delay, want, wantDelay)
			}
			if ok {
				admitted++
			}
			if ok && limit.Worthwhile(delay) {
				delayed++
			}
		}
		if admitted == 2000 || delayed == 0 {
			t.Errorf("rate %v, burst %v: %d admitted and %d delayed: the model shows nothing", rate, burst, admitted, delayed)
		}
	}
}

// TestDelays: only requests that have to wait ask to, and then wait as long as they should.
func TestDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := redistest.Open(t, `{"limit-req":{"rate":2,"burst":2,"key":"TestDelays"}}`)
		x := new(gateway.Exchange)
		for i, c := range []struct {
			first gateway.Step
			waits time.Duration
		}{
			{gateway.StepForward, 0}, {gateway.StepBlock, 500 * time.Millisecond}, {gateway.StepBlock, 500 * time.Millisecond},
		} {
			x.Request.Method, x.Request.Path, x.Request.EscapedPath = "GET", "/a", "/a"
			x.Request.Client = netip.MustParseAddrPort("192.0.2.9:1")
			x.Start = time.Now()
			g.Begin(x, redistest.Wire{Ctx: t.Context()})
			step := x.Next(false)
			if step != c.first {
				t.Errorf("%d: got step %v, want %v", i, step, c.first)
			}
			if step == gateway.StepBlock {
				step = x.Next(true)
			}
			if took := time.Since(x.Start); step != gateway.StepForward || took.Round(time.Millisecond) != c.waits {
				t.Errorf("%d: got step %v after %v, want it forwarded after %v", i, step, took, c.waits)
			}
			x.Reset()
		}
	})
}

func TestAllocs(t *testing.T) {
	for config, step := range map[string]gateway.Step{
		`{"rate":1000000000,"burst":1,"nodelay":true,"key":"remote_addr"}`:                              gateway.StepForward,
		`{"rate":0.001,"burst":0,"key_type":"var_combination","key":"$remote_addr","rejected_msg":"x"}`: gateway.StepReply,
	} {
		x := plugintest.Open(t, `{"limit-req":`+config+`}`)
		client := func(x *gateway.Exchange) { x.Request.Client = netip.MustParseAddrPort("192.0.2.8:1") }
		x.Run(client)
		x.WantAllocs(t, step, 0, client)
	}
}

func BenchmarkLimitReq(b *testing.B) {
	x := plugintest.Open(b, `{"limit-req":{"rate":1000000000,"burst":1000,"nodelay":true,"key":"remote_addr"}}`)
	x.Bench(b, func(x *gateway.Exchange) { x.Request.Client = netip.MustParseAddrPort("192.0.2.8:1") })
}

// TestNoOvershoot: four gateways admit together exactly what the bucket holds.
func TestNoOvershoot(t *testing.T) {
	single, cluster := redistest.Start(t), redistest.Cluster(t)
	for policy, fields := range map[string]string{
		"redis": fmt.Sprintf(`"policy":"redis","redis_host":%q,"redis_port":%d`, single.Host(), single.Port()),
		"redis-cluster": fmt.Sprintf(`"policy":"redis-cluster","redis_cluster_name":"c","redis_cluster_nodes":[%q,%q]`,
			cluster[0].Addr, cluster[1].Addr),
	} {
		t.Run(policy, func(t *testing.T) {
			var gateways []*gateway.Gateway
			for range 4 {
				gateways = append(gateways, redistest.Open(t,
					`{"limit-req":{"rate":0.00001,"burst":49,"nodelay":true,"key":"http_x_user",`+fields+`}}`))
			}
			for _, user := range []string{"jack", "rose"} {
				if got := redistest.Burst(t, gateways, user, 80); got != 50 {
					t.Errorf("%s: %d admitted, want 50", user, got)
				}
			}
		})
	}
}

// TestScript is the script beside the local bucket, at times that it is given in the place of Redis' own.
func TestScript(t *testing.T) {
	server := redistest.Start(t)
	timed := strings.Replace(source, "redis.call('TIME')", "{ARGV[3], ARGV[4]}", 1)
	if timed == source {
		t.Fatal("the script does not ask for the time")
	}
	start := time.Unix(1_700_000_000, 0)
	s := shape{3.3, 4.4}
	scope := limit.NewScope("TestScript")
	for i, a := range arrivals(5, 2000) {
		at := start.Add(a.at.Truncate(time.Microsecond))
		want, admitted := pass(scope.Key(a.user), s, at.UnixNano())
		answer, err := server.Client.Eval(t.Context(), timed, []string{a.user}, s.rate, s.burst, at.Unix(), at.Nanosecond()/1000).Int64Slice()
		if err != nil {
			t.Fatal(err)
		}
		got := time.Duration(answer[0]) * time.Microsecond
		if (answer[0] >= 0) != admitted || admitted && (want-got).Abs() > 2*time.Microsecond {
			t.Fatalf("request %d: got %s, want %v, %v", i, strconv.FormatInt(answer[0], 10), want, admitted)
		}
	}
}
