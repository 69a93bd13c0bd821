// SPDX-License-Identifier: Apache-2.0

package limitconn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/limit/redistest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{Text: `{"conn":1,"burst":0,"default_conn_delay":0.1,"key":"remote_addr"}`},
		{Text: `{"conn":"$http_n","burst":"2","default_conn_delay":0.1,"key":"remote_addr"}`},
		{Text: `{"default_conn_delay":0.1,"rules":[{"conn":1,"burst":0,"key":"$remote_addr"}]}`},
		{Text: `{"conn":1,"burst":0,"key":"remote_addr"}`, Want: "value should match only one schema, but matches none"},
		{
			Text: `{"conn":0,"burst":0,"default_conn_delay":0.1,"key":"k"}`,
			Want: `property "conn" validation failed: value should match only one schema, but matches none`,
		},
		{
			Text: `{"conn":1,"burst":0,"default_conn_delay":0,"key":"k"}`,
			Want: `property "default_conn_delay" validation failed: expected 0 to be greater than 0`,
		},
		{Text: `{"conn":1,"burst":0,"default_conn_delay":1,"key":"k","policy":"redis"}`, Want: "then clause did not match"},
	})
}

// begin takes a request of a user through the hooks; the exchange is under way until it is finished.
func begin(t testing.TB, g *gateway.Gateway, user string) (*gateway.Exchange, gateway.Step) {
	x := new(gateway.Exchange)
	return x, redistest.Request(t.Context(), g, x, user)
}

// TestModel: exactly those requests are admitted that a naive twin admits, and delayed by as many turns.
func TestModel(t *testing.T) {
	for seed := range uint64(12) {
		conn, burst := int64(1+seed%4), int64(seed%6)
		instance, err := plugintest.Compile(t, name, fmt.Sprintf(
			`{"conn":%d,"burst":%d,"default_conn_delay":0.25,"only_use_default_delay":true,"key":"http_x_user","rejected_msg":"model %d"}`,
			conn, burst, seed))
		if err != nil {
			t.Fatal(err)
		}
		chain := gateway.NewChain([]gateway.Entry{{Plugin: gateway.RegisteredPlugins()[name], Instance: instance}})
		table := &routeTable{gatewaytest.Open(t).Table(), &gateway.Route{Chain: chain, Upstream: &gateway.Upstream{Balancer: nobody{}}}}
		random := rand.New(rand.NewPCG(seed, 13))
		type request struct {
			x    *gateway.Exchange
			user string
		}
		var open []request
		counts := make(map[string]int64)
		refused, delayed := 0, 0
		for i := range 3000 {
			if len(open) > 0 && random.IntN(5) < 2 {
				at := random.IntN(len(open))
				open[at].x.Finish()
				counts[open[at].user]--
				open = append(open[:at], open[at+1:]...)
				continue
			}
			user := fmt.Sprint("u", random.IntN(3))
			x := new(gateway.Exchange)
			x.Request.Method, x.Request.Path = "GET", "/a"
			x.Request.Header.Add("X-User", user)
			x.Begin(table, nil, nil)
			got := x.Next(false)
			want := gateway.StepForward
			turns := counts[user] / conn
			switch {
			case counts[user] >= conn+burst:
				want = gateway.StepReply
				refused++
			case counts[user] >= conn:
				want = gateway.StepBlock
				delayed++
			}
			if got != want {
				t.Fatalf("conn %d, burst %d: request %d of %s beside %d: got step %v, want %v", conn, burst, i, user, counts[user], got, want)
			}
			if l := instance.(*limitConn); got == gateway.StepBlock && l.turns(turns) != time.Duration(turns)*250*time.Millisecond {
				t.Fatalf("%d turns take %v", turns, l.turns(turns))
			}
			if got == gateway.StepReply {
				x.Finish()
				continue
			}
			counts[user]++
			open = append(open, request{x, user})
		}
		if refused == 0 || delayed == 0 != (burst == 0) {
			t.Errorf("conn %d, burst %d: %d refused, %d delayed: the model shows nothing", conn, burst, refused, delayed)
		}
		for _, r := range open {
			r.x.Finish()
		}
		if n := underWay.Len(0); n != 0 {
			t.Errorf("%d keys are under way when nothing is", n)
		}
	}
}

type routeTable struct {
	gateway.Table
	route *gateway.Route
}

func (t *routeTable) Match(*gateway.Exchange, gateway.Trace) *gateway.Route { return t.route }

type nobody struct{}

func (nobody) Pick(*gateway.Exchange) *gateway.Node { return nil }

// TestDelays: requests beyond conn wait for a turn each, and the turn follows what requests take.
func TestDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for only, want := range map[string]time.Duration{"true": 400 * time.Millisecond, "false": 200 * time.Millisecond} {
			g := redistest.Open(t, `{"limit-conn":{"conn":1,"burst":2,"default_conn_delay":0.4,"only_use_default_delay":`+only+`,"key":"http_x_user"}}`)
			took := func() (*gateway.Exchange, time.Duration) {
				start := time.Now()
				x, step := begin(t, g, "TestDelays")
				if step != gateway.StepForward {
					t.Fatalf("got step %v", step)
				}
				return x, time.Since(start)
			}
			first, none := took()
			second, one := took()
			if none != 0 || one != 400*time.Millisecond {
				t.Errorf("delayed by %v and %v, want 0 and 0.4 s", none, one)
			}
			// It took no time but its delay, so a turn is now the mean of 0.4 s and nothing.
			second.Finish()
			third, again := took()
			if again != want {
				t.Errorf("only_use_default_delay %s: delayed by %v, want %v", only, again, want)
			}
			first.Finish()
			third.Finish()
		}
	})
}

func TestLearn(t *testing.T) {
	l := new(limitConn)
	l.unit.Store(math.Float64bits(0.1))
	l.learn(500 * time.Millisecond)
	l.learn(-time.Second)
	if got := math.Float64frombits(l.unit.Load()); math.Abs(got-0.15) > 1e-9 {
		t.Errorf("got %v, want 0.15", got)
	}
}

// TestRules: what a rule before the one that refuses has counted is let go of too.
func TestRules(t *testing.T) {
	g := redistest.Open(t, `{"limit-conn":{"default_conn_delay":0.1,"rejected_code":429,"rules":[{"conn":3,"burst":0,"key":"all $request_method"},{"conn":1,"burst":0,"key":"$http_x_user"}]}}`)
	a, step := begin(t, g, "a")
	if step != gateway.StepForward {
		t.Fatalf("got step %v", step)
	}
	for range 5 {
		x, step := begin(t, g, "a")
		if step != gateway.StepReply || x.Response.Status != 429 {
			t.Errorf("got step %v, %d", step, x.Response.Status)
		}
		x.Finish()
	}
	b, step := begin(t, g, "b")
	if step != gateway.StepForward {
		t.Errorf("got step %v", step)
	}
	a.Finish()
	b.Finish()
	if n := underWay.Len(0); n != 0 {
		t.Errorf("%d keys are under way when nothing is", n)
	}
}

func TestAllocs(t *testing.T) {
	client := func(x *gateway.Exchange) { x.Request.Client = netip.MustParseAddrPort("192.0.2.40:1") }
	config := `{"limit-conn":{"conn":1,"burst":0,"default_conn_delay":0.1,"key":"remote_addr","rejected_msg":"busy"}}`
	plugintest.Open(t, config).WantAllocs(t, gateway.StepForward, 0, client)

	busy := plugintest.Open(t, config)
	other := new(gateway.Exchange)
	other.Request.Method, other.Request.Path = "GET", "/a"
	client(other)
	redistest.Request(t.Context(), redistest.Open(t, config), other, "")
	busy.WantAllocs(t, gateway.StepReply, 0, client)
	other.Finish()
}

func BenchmarkLimitConn(b *testing.B) {
	x := plugintest.Open(b, `{"limit-conn":{"conn":10,"burst":0,"default_conn_delay":0.1,"key":"remote_addr"}}`)
	x.Bench(b, func(x *gateway.Exchange) { x.Request.Client = netip.MustParseAddrPort("192.0.2.8:1") })
}

// TestNoOvershoot: four gateways have together exactly as many requests under way as they may, and let go of all.
func TestNoOvershoot(t *testing.T) {
	single, cluster := redistest.Start(t), redistest.Cluster(t)
	for policy, fields := range map[string]string{
		"redis": fmt.Sprintf(`"policy":"redis","redis_host":%q,"redis_port":%d`, single.Host(), single.Port()),
		"redis-cluster": fmt.Sprintf(`"policy":"redis-cluster","redis_cluster_name":"c","redis_cluster_nodes":[%q,%q]`,
			cluster[0].Addr, cluster[2].Addr),
	} {
		t.Run(policy, func(t *testing.T) {
			const most, each = 20, 20
			var gateways []*gateway.Gateway
			for range 4 {
				gateways = append(gateways, redistest.Open(t,
					`{"limit-conn":{"conn":15,"burst":5,"default_conn_delay":0.0001,"only_use_default_delay":true,"key":"http_x_user",`+fields+`}}`))
			}
			var mu sync.Mutex
			var admitted []*gateway.Exchange
			var all sync.WaitGroup
			for _, g := range gateways {
				for range each {
					all.Go(func() {
						x, step := begin(t, g, "jack")
						if step != gateway.StepForward {
							x.Finish()
							return
						}
						mu.Lock()
						admitted = append(admitted, x)
						mu.Unlock()
					})
				}
			}
			all.Wait()
			if len(admitted) != most {
				t.Errorf("%d under way, want %d", len(admitted), most)
			}
			for _, x := range admitted {
				x.Finish()
			}
			// Letting go is waited for by nobody, so ask until there is room for all.
			for deadline := time.Now().Add(20 * time.Second); ; {
				var again []*gateway.Exchange
				for range most {
					x, step := begin(t, gateways[0], "jack")
					if step != gateway.StepForward {
						x.Finish()
						break
					}
					again = append(again, x)
				}
				for _, x := range again {
					x.Finish()
				}
				if len(again) == most {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("room for %d, want %d: not all was let go of", len(again), most)
				}
			}
		})
	}
}

// TestForgotten: what a gateway that died had under way is forgotten after its time.
func TestForgotten(t *testing.T) {
	server := redistest.Start(t)
	g := redistest.Open(t, fmt.Sprintf(
		`{"limit-conn":{"conn":1,"burst":0,"default_conn_delay":0.1,"key":"http_x_user","key_ttl":100,"policy":"redis","redis_host":%q,"redis_port":%d}}`,
		server.Host(), server.Port()))
	if _, step := begin(t, g, "jack"); step != gateway.StepForward {
		t.Fatalf("got step %v", step)
	}
	if x, step := begin(t, g, "jack"); step != gateway.StepReply || x.Response.Status != 503 {
		t.Errorf("got step %v, want a second one refused", step)
	}
	keys := server.Client.Keys(t.Context(), "*").Val()
	if len(keys) != 1 {
		t.Fatalf("keys %q", keys)
	}
	if ttl := server.Client.PTTL(t.Context(), keys[0]).Val(); ttl <= 0 || ttl > 100*time.Second {
		t.Errorf("it is forgotten after %v", ttl)
	}
	member := server.Client.ZRange(t.Context(), keys[0], 0, -1).Val()
	// As if its time were up.
	if err := server.Client.ZIncrBy(t.Context(), keys[0], -100_001, member[0]).Err(); err != nil {
		t.Fatal(err)
	}
	if _, step := begin(t, g, "jack"); step != gateway.StepForward {
		t.Errorf("got step %v: what is forgotten still counts", step)
	}
}
