// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
	"weak"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// settings are what a config says about Redis. They are comparable: equal settings share one client.
type settings struct {
	policy string
	// addresses are separated by commas: one, or those of a cluster or of sentinels.
	addresses, master                  string
	username, password                 string
	sentinelUsername, sentinelPassword string
	database                           int
	replica                            bool
	connectTimeout, timeout            time.Duration
	idleTimeout                        time.Duration
	pool                               int
	tls, verify                        bool
}

// silent is go-redis' logger: what fails is returned, and logged by who asked.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(silent{}) }

// Redis is a client that configs with equal settings share. It is closed when the last of them is gone.
type Redis struct{ client redis.UniversalClient }

var clients = struct {
	sync.Mutex
	known map[settings]weak.Pointer[Redis]
}{known: make(map[settings]weak.Pointer[Redis])}

// NewRedis returns the client that a config asks for with `policy` and the fields redis_*; nil for the policy local. It
// does not connect: a store that is not there makes requests fail, not the config.
func NewRedis(config json.RawMessage) (*Redis, error) {
	s, err := parseSettings(config)
	if err != nil || s.policy == "local" || s.policy == "" {
		return nil, err
	}
	clients.Lock()
	defer clients.Unlock()
	if known := clients.known[s].Value(); known != nil {
		return known, nil
	}
	for old, pointer := range clients.known {
		if pointer.Value() == nil {
			delete(clients.known, old)
		}
	}
	made := &Redis{s.client()}
	runtime.AddCleanup(made, func(client redis.UniversalClient) { _ = client.Close() }, made.client)
	clients.known[s] = weak.Make(made)
	return made, nil
}

func parseSettings(config json.RawMessage) (s settings, err error) {
	var c struct {
		Policy           string   `json:"policy"`
		Host             string   `json:"redis_host"`
		Port             int      `json:"redis_port"`
		Username         string   `json:"redis_username"`
		Password         string   `json:"redis_password"`
		Database         int      `json:"redis_database"`
		Timeout          int      `json:"redis_timeout"`
		SSL              bool     `json:"redis_ssl"`
		SSLVerify        bool     `json:"redis_ssl_verify"`
		KeepAliveTimeout int      `json:"redis_keepalive_timeout"`
		KeepAlivePool    int      `json:"redis_keepalive_pool"`
		ClusterNodes     []string `json:"redis_cluster_nodes"`
		ClusterSSL       bool     `json:"redis_cluster_ssl"`
		ClusterSSLVerify bool     `json:"redis_cluster_ssl_verify"`
		Sentinels        []struct {
			Host string `json:"host"`
			Port int    `json:"port"`
		} `json:"redis_sentinels"`
		Master           string `json:"redis_master_name"`
		Role             string `json:"redis_role"`
		ConnectTimeout   int    `json:"redis_connect_timeout"`
		ReadTimeout      int    `json:"redis_read_timeout"`
		SentinelUsername string `json:"sentinel_username"`
		SentinelPassword string `json:"sentinel_password"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return s, fmt.Errorf("redis: %w", err)
	}
	s = settings{
		policy: c.Policy, username: c.Username, password: c.Password,
		connectTimeout: milliseconds(c.Timeout, 1000), timeout: milliseconds(c.Timeout, 1000),
		idleTimeout: milliseconds(c.KeepAliveTimeout, 10_000), pool: c.KeepAlivePool,
	}
	if s.pool == 0 {
		s.pool = 100
	}
	switch c.Policy {
	case "redis":
		if c.Port == 0 {
			c.Port = 6379
		}
		s.addresses = net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
		s.database, s.tls, s.verify = c.Database, c.SSL, c.SSLVerify
	case "redis-cluster":
		s.addresses, s.username = strings.Join(c.ClusterNodes, ","), ""
		s.tls, s.verify = c.ClusterSSL, c.ClusterSSLVerify
	case "redis-sentinel":
		addresses := make([]string, len(c.Sentinels))
		for i, sentinel := range c.Sentinels {
			addresses[i] = net.JoinHostPort(sentinel.Host, strconv.Itoa(sentinel.Port))
		}
		s.addresses, s.master, s.database = strings.Join(addresses, ","), c.Master, c.Database
		s.replica = c.Role == "slave"
		s.sentinelUsername, s.sentinelPassword = c.SentinelUsername, c.SentinelPassword
		s.connectTimeout, s.timeout = milliseconds(c.ConnectTimeout, 1000), milliseconds(c.ReadTimeout, 1000)
		s.idleTimeout = milliseconds(c.KeepAliveTimeout, 60_000)
	}
	return s, nil
}

func milliseconds(n, otherwise int) time.Duration {
	if n <= 0 {
		n = otherwise
	}
	return time.Duration(n) * time.Millisecond
}

// quiet asks the server for no news: Redis as it is everywhere knows none.
var quiet = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

// client makes a client. Nothing is tried twice: a command whose answer got lost may have counted.
func (s *settings) client() redis.UniversalClient {
	var secure *tls.Config
	if s.tls {
		secure = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !s.verify} //nolint:gosec // the config says so
		if s.policy == "redis" {
			secure.ServerName, _, _ = net.SplitHostPort(s.addresses)
		}
	}
	addresses := strings.Split(s.addresses, ",")
	switch s.policy {
	case "redis-cluster":
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: addresses, Password: s.password, TLSConfig: secure, DisableIdentity: true,
			Protocol: 2, MaintNotificationsConfig: quiet, DialerRetries: 1,
			DialTimeout: s.connectTimeout, ReadTimeout: s.timeout, WriteTimeout: s.timeout, MaxRetries: -1,
			PoolSize: s.pool, MaxIdleConns: s.pool, ConnMaxIdleTime: s.idleTimeout,
		})
	case "redis-sentinel":
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: s.master, SentinelAddrs: addresses, ReplicaOnly: s.replica, DisableIdentity: true,
			SentinelUsername: s.sentinelUsername, SentinelPassword: s.sentinelPassword,
			Username: s.username, Password: s.password, DB: s.database,
			Protocol: 2, DialerRetries: 1,
			DialTimeout: s.connectTimeout, ReadTimeout: s.timeout, WriteTimeout: s.timeout, MaxRetries: -1,
			PoolSize: s.pool, MaxIdleConns: s.pool, ConnMaxIdleTime: s.idleTimeout,
		})
	}
	return redis.NewClient(&redis.Options{
		Addr: addresses[0], Username: s.username, Password: s.password, DB: s.database, TLSConfig: secure, DisableIdentity: true,
		Protocol: 2, MaintNotificationsConfig: quiet, DialerRetries: 1,
		DialTimeout: s.connectTimeout, ReadTimeout: s.timeout, WriteTimeout: s.timeout, MaxRetries: -1,
		PoolSize: s.pool, MaxIdleConns: s.pool, ConnMaxIdleTime: s.idleTimeout,
	})
}

// Script is a Lua script that works on one key.
type Script struct{ script *redis.Script }

// NewScript returns a script. It is sent by its hash; a server that does not know it is sent the text once.
func NewScript(source string) *Script { return &Script{redis.NewScript(source)} }

// Integers runs a script that returns integers, in one round trip.
func (r *Redis) Integers(ctx context.Context, script *Script, key string, args ...any) ([]int64, error) {
	defer runtime.KeepAlive(r)
	return script.script.Run(ctx, r.client, []string{key}, args...).Int64Slice()
}

// Call is one run of a script among many.
type Call struct {
	Key  string
	Args []any
}

// IntegersOf runs a script for many keys in one round trip. A call that failed has no result.
func (r *Redis) IntegersOf(ctx context.Context, script *Script, calls []Call) ([][]int64, error) {
	defer runtime.KeepAlive(r)
	run := func() ([][]int64, error) {
		pending := make([]*redis.Cmd, len(calls))
		_, err := r.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for i, call := range calls {
				pending[i] = script.script.EvalSha(ctx, pipe, []string{call.Key}, call.Args...)
			}
			return nil
		})
		results := make([][]int64, len(calls))
		for i, cmd := range pending {
			results[i], _ = cmd.Int64Slice()
		}
		return results, err
	}
	results, err := run()
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		// In a cluster each master needs the script, and those that had it have counted.
		for i, call := range calls {
			if results[i] == nil {
				if results[i], err = r.Integers(ctx, script, call.Key, call.Args...); err != nil {
					return results, err
				}
			}
		}
		return results, nil
	}
	return results, err
}
