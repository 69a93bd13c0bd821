// SPDX-License-Identifier: Apache-2.0

package limitcount

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/limit/redistest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

// policies returns the fields of each policy, for servers that it starts.
func policies(t *testing.T) map[string]string {
	single := redistest.Start(t, "requirepass secret")
	cluster := redistest.Cluster(t)
	var addresses []string
	for _, s := range cluster {
		addresses = append(addresses, strconv.Quote(s.Addr))
	}
	_, sentinel := redistest.Sentinel(t, "mymaster")
	return map[string]string{
		"redis": fmt.Sprintf(`"policy":"redis","redis_host":%q,"redis_port":%d,"redis_password":"secret","redis_database":3`,
			single.Host(), single.Port()),
		"redis-cluster": fmt.Sprintf(`"policy":"redis-cluster","redis_cluster_name":"c","redis_cluster_nodes":[%s]`,
			strings.Join(addresses, ",")),
		"redis-sentinel": fmt.Sprintf(`"policy":"redis-sentinel","redis_master_name":"mymaster","redis_sentinels":[{"host":%q,"port":%d}]`,
			sentinel.Host(), sentinel.Port()),
	}
}

// TestNoOvershoot: four gateways admit together exactly what the limit says.
func TestNoOvershoot(t *testing.T) {
	for policy, fields := range policies(t) {
		for _, window := range []string{"fixed", "sliding"} {
			t.Run(policy+" "+window, func(t *testing.T) {
				var gateways []*gateway.Gateway
				for range 4 {
					gateways = append(gateways, redistest.Open(t, fmt.Sprintf(
						`{"limit-count":{"count":100,"time_window":86400,"window_type":%q,"key":"http_x_user",%s}}`, window, fields)))
				}
				for _, user := range []string{"jack", "rose"} {
					if got := redistest.Burst(t, gateways, user, 80); got != 100 {
						t.Errorf("%s: %d admitted, want 100", user, got)
					}
				}
			})
		}
	}
}

// TestRedisFields: the fields say the same as with local counters, and another gateway says so too.
func TestRedisFields(t *testing.T) {
	server := redistest.Start(t)
	config := fmt.Sprintf(`{"limit-count":{"count":2,"time_window":60,"key":"http_x_user","policy":"redis","redis_host":%q,"redis_port":%d}}`,
		server.Host(), server.Port())
	one, other := redistest.Open(t, config), redistest.Open(t, config)
	for i, c := range []struct {
		gateway   *gateway.Gateway
		step      gateway.Step
		remaining string
	}{
		{one, gateway.StepForward, "1"}, {other, gateway.StepForward, "0"}, {one, gateway.StepReply, "0"}, {other, gateway.StepReply, "0"},
	} {
		x := new(gateway.Exchange)
		if step := redistest.Request(t.Context(), c.gateway, x, "jack"); step != c.step {
			t.Errorf("%d: got step %v, want %v", i, step, c.step)
		}
		h := &x.Response.Header
		reset, err := strconv.ParseFloat(h.Get("X-RateLimit-Reset"), 64)
		if h.Get("X-RateLimit-Limit") != "2" || h.Get("X-RateLimit-Remaining") != c.remaining || err != nil || reset <= 0 || reset > 60 {
			t.Errorf("%d: got %s, %s, %s", i, h.Get("X-RateLimit-Limit"), h.Get("X-RateLimit-Remaining"), h.Get("X-RateLimit-Reset"))
		}
	}
	keys, err := server.Client.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 1 || !strings.HasPrefix(keys[0], "plugin-limit-count/apisix/routes/1:") || !strings.HasSuffix(keys[0], ":jack") {
		t.Errorf("keys %q (%v)", keys, err)
	}
	if ttl := server.Client.PTTL(t.Context(), keys[0]).Val(); ttl <= 0 || ttl > time.Minute {
		t.Errorf("the window lasts %v", ttl)
	}
	// A window that has ended begins anew.
	if err := server.Client.Del(t.Context(), keys[0]).Err(); err != nil {
		t.Fatal(err)
	}
	x := new(gateway.Exchange)
	redistest.Request(t.Context(), one, x, "jack")
	if h := &x.Response.Header; h.Get("X-RateLimit-Remaining") != "1" || h.Get("X-RateLimit-Reset") != "60" {
		t.Errorf("a new window: got %s, %s", h.Get("X-RateLimit-Remaining"), h.Get("X-RateLimit-Reset"))
	}
}

// TestOneRoundTrip: a decision is one command, once Redis knows the script.
func TestOneRoundTrip(t *testing.T) {
	for _, window := range []string{"fixed", "sliding"} {
		server := redistest.Start(t)
		g := redistest.Open(t, fmt.Sprintf(
			`{"limit-count":{"count":1000,"time_window":60,"window_type":%q,"policy":"redis","redis_host":%q,"redis_port":%d}}`,
			window, server.Host(), server.Port()))
		x := new(gateway.Exchange)
		calls := func() (n int) {
			info, err := server.Client.Info(t.Context(), "commandstats").Result()
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(info) {
				if name, rest, _ := strings.Cut(line, ":calls="); name == "cmdstat_evalsha" || name == "cmdstat_eval" {
					count, _, _ := strings.Cut(rest, ",")
					m, _ := strconv.Atoi(count)
					n += m
				}
			}
			return n
		}
		redistest.Request(t.Context(), g, x, "")
		x.Reset()
		before := calls()
		const requests = 20
		for range requests {
			redistest.Request(t.Context(), g, x, "")
			x.Reset()
		}
		if got := calls() - before; got != requests {
			t.Errorf("%s: %d commands for %d requests", window, got, requests)
		}
	}
}

// TestRedisSlides is the script beside sliding.admit, at times that the script is given in the place of Redis' own.
func TestRedisSlides(t *testing.T) {
	server := redistest.Start(t)
	source := strings.Replace(slideSource, "redis.call('TIME')", "{ARGV[5], ARGV[6]}", 1)
	if source == slideSource {
		t.Fatal("the script does not ask for the time")
	}
	var w sliding
	for i, a := range arrivals(3, 1500) {
		at := a.at.Truncate(time.Millisecond)
		q := quota{limit: 7, window: int64(4 * time.Second), cost: 1 + int64(i%2), now: at.UnixNano()}
		want := w.admit(q)
		args := append(slideArgs(q, false), at.Unix(), at.Nanosecond()/1000)
		answer, err := server.Client.Eval(t.Context(), source, []string{"k"}, args...).Int64Slice()
		got, err := slideAnswer(answer, err)
		if err != nil {
			t.Fatal(err)
		}
		// Redis counts in milliseconds.
		if d := got.reset - want.reset; d < 0 || d > int64(time.Millisecond) {
			t.Fatalf("request %d: reset %v, want %v", i, time.Duration(got.reset), time.Duration(want.reset))
		}
		got.reset, want.reset = 0, 0
		if got != want {
			t.Fatalf("request %d: got %+v, want %+v", i, got, want)
		}
	}
}

// TestDelayed: with sync_interval a request waits only when its window is not known, and what is counted is told to Redis
// and heard from there.
func TestDelayed(t *testing.T) {
	for _, window := range []string{"fixed", "sliding"} {
		t.Run(window, func(t *testing.T) {
			server := redistest.Start(t)
			config := json.RawMessage(fmt.Sprintf(
				`{"count":10,"time_window":86400,"window_type":%q,"sync_interval":3600,"policy":"redis","redis_host":%q,"redis_port":%d,"key":"http_x_user"}`,
				window, server.Host(), server.Port()))
			open := func() (*gateway.Gateway, *delayed) {
				g := redistest.Open(t, `{"limit-count":`+string(config)+`}`)
				x := new(gateway.Exchange)
				x.Request.Method, x.Request.Path = "GET", "/a"
				entry, _ := g.Table().Match(x, nil).Chain.Entry(gateway.RegisteredPlugins()[name])
				return g, entry.Instance.(*limitCount).limiter.delayed
			}
			g, d := open()
			request := func(want gateway.Step, waits bool, remaining string) {
				t.Helper()
				x := new(gateway.Exchange)
				x.Request.Method, x.Request.Path, x.Request.EscapedPath = "GET", "/a", "/a"
				x.Request.Header.Add("X-User", "jack")
				g.Begin(x, redistest.Wire{Ctx: t.Context()})
				step := x.Next(false)
				if (step == gateway.StepBlock) != waits {
					t.Errorf("got step %v, want it to wait: %v", step, waits)
				}
				if step == gateway.StepBlock {
					step = x.Next(true)
				}
				if got := x.Response.Header.Get("X-RateLimit-Remaining"); step != want || got != remaining {
					t.Errorf("got step %v and %s left, want %v and %s", step, got, want, remaining)
				}
				x.Finish()
			}
			request(gateway.StepForward, true, "9")
			for _, left := range []string{"8", "7", "6"} {
				request(gateway.StepForward, false, left)
			}
			// Somebody else has used three meanwhile.
			d.flush()
			key := server.Client.Keys(t.Context(), "*").Val()
			if len(key) != 1 {
				t.Fatalf("keys %q", key)
			}
			var used string
			if window == "fixed" {
				used = server.Client.Get(t.Context(), key[0]).Val()
				server.Client.IncrBy(t.Context(), key[0], 3)
			} else {
				used = server.Client.HGet(t.Context(), key[0], "u").Val()
				server.Client.HIncrBy(t.Context(), key[0], "u", 3)
			}
			if used != "4" {
				t.Errorf("redis was told of %s, want 4", used)
			}
			request(gateway.StepForward, false, "5")
			d.flush()
			request(gateway.StepForward, false, "1")
			// Redis is gone: what is known goes on, and nothing that was counted is lost.
			server.Stop()
			request(gateway.StepForward, false, "0")
			d.flush()
			if len(d.queue) != 1 {
				t.Errorf("%d windows are to be told again, want 1", len(d.queue))
			}
			request(gateway.StepReply, false, "0")
		})
	}
}

// TestDelayedTogether: four gateways with their own processes' memories would admit at most an interval's worth too much;
// here they share it, and admit exactly the limit.
func TestDelayedTogether(t *testing.T) {
	server := redistest.Start(t)
	var gateways []*gateway.Gateway
	for range 4 {
		gateways = append(gateways, redistest.Open(t, fmt.Sprintf(
			`{"limit-count":{"count":100,"time_window":86400,"sync_interval":0.1,"policy":"redis","redis_host":%q,"redis_port":%d,"key":"http_x_user"}}`,
			server.Host(), server.Port())))
	}
	if got := redistest.Burst(t, gateways, "jack", 80); got != 100 {
		t.Errorf("%d admitted, want 100", got)
	}
}

func TestBlocks(t *testing.T) {
	for config, want := range map[string]bool{
		`{"count":1,"time_window":60}`:                                                               false,
		`{"count":1,"time_window":60,"policy":"redis","redis_host":"127.0.0.1"}`:                     true,
		`{"count":1,"time_window":60,"policy":"redis","redis_host":"127.0.0.1","sync_interval":0.5}`: false,
	} {
		instance, err := plugintest.Compile(t, name, config)
		if err != nil {
			t.Fatal(err)
		}
		if got := instance.(gateway.Blocker).Blocks(); got != want {
			t.Errorf("%s: blocks %v, want %v", config, got, want)
		}
	}
}
