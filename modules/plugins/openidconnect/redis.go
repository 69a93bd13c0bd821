// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"sync"
	"time"
	"weak"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// redisSettings are the `session.redis` of a config. They are comparable: equal settings share their connections. Times are
// in milliseconds.
type redisSettings struct {
	Host             string `json:"host"`
	Port             int    `json:"port"`
	Username         string `json:"username"`
	Password         string `json:"password"`
	Database         int    `json:"database"`
	Prefix           string `json:"prefix"`
	SSL              bool   `json:"ssl"`
	SSLVerify        bool   `json:"ssl_verify"`
	ServerName       string `json:"server_name"`
	ConnectTimeout   int64  `json:"connect_timeout"`
	SendTimeout      int64  `json:"send_timeout"`
	ReadTimeout      int64  `json:"read_timeout"`
	KeepAliveTimeout int64  `json:"keepalive_timeout"`
}

// silent is go-redis' logger: what fails is returned, and logged by who asked.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(silent{}) }

// redisStore keeps sealed sessions in Redis. Their names do not tell whose cookies lead to them. It is safe for concurrent
// use.
type redisStore struct {
	prefix string
	client *redis.Client
}

var redisStores = struct {
	sync.Mutex
	known map[redisSettings]weak.Pointer[redisStore]
}{known: make(map[redisSettings]weak.Pointer[redisStore])}

// newRedisStore does not connect: a store that is not there makes requests fail, not the config. Its connections are closed
// when the last config that has them is gone.
func newRedisStore(s *redisSettings) *redisStore {
	redisStores.Lock()
	defer redisStores.Unlock()
	if known := redisStores.known[*s].Value(); known != nil {
		return known
	}
	for old, pointer := range redisStores.known {
		if pointer.Value() == nil {
			delete(redisStores.known, old)
		}
	}
	made := &redisStore{prefix: s.Prefix, client: s.client()}
	runtime.AddCleanup(made, func(client *redis.Client) { _ = client.Close() }, made.client)
	redisStores.known[*s] = weak.Make(made)
	return made
}

func (s *redisSettings) client() *redis.Client {
	milliseconds := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	options := &redis.Options{
		Addr: net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), Username: s.Username, Password: s.Password, DB: s.Database,
		DialTimeout: milliseconds(s.ConnectTimeout), ReadTimeout: milliseconds(s.ReadTimeout), WriteTimeout: milliseconds(s.SendTimeout),
		ConnMaxIdleTime: milliseconds(s.KeepAliveTimeout), DisableIdentity: true, Protocol: 2, DialerRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if s.SSL {
		options.TLSConfig = &tls.Config{
			MinVersion: tls.VersionTLS12, ServerName: firstOf(s.ServerName, s.Host),
			InsecureSkipVerify: !s.SSLVerify, //nolint:gosec // the config says so
		}
	}
	return redis.NewClient(options)
}

func (r *redisStore) key(id []byte) string {
	sum := sha256.Sum256(id)
	return r.prefix + ":" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// load returns what was saved under a name; nil when there is nothing.
func (r *redisStore) load(ctx context.Context, id []byte) ([]byte, error) {
	defer runtime.KeepAlive(r)
	value, err := r.client.Get(ctx, r.key(id)).Bytes()
	if err == redis.Nil {
		return nil, nil
	}
	return value, inStore(err)
}

func (r *redisStore) save(ctx context.Context, id, value []byte, life time.Duration) error {
	defer runtime.KeepAlive(r)
	return inStore(r.client.Set(ctx, r.key(id), value, life).Err())
}

func (r *redisStore) drop(ctx context.Context, id []byte) error {
	defer runtime.KeepAlive(r)
	return inStore(r.client.Del(ctx, r.key(id)).Err())
}

func inStore(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("session store: %w", err)
}
