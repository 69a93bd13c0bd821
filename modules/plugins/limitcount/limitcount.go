// SPDX-License-Identifier: Apache-2.0

// Package limitcount is APISIX's limit-count plugin: so many requests in a window of time.
package limitcount

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/limit"
)

//go:embed schema.json
var configSchema []byte

//go:embed metadata_schema.json
var metadataSchema []byte

const name = "limit-count"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:           name,
		Priority:       1002,
		Version:        0.5,
		Schema:         configSchema,
		MetadataSchema: metadataSchema,
		Refuse:         Refuse,
		New: func(env gateway.Env, config json.RawMessage) (any, error) {
			limiter, err := New(name, env, config)
			if err != nil {
				return nil, err
			}
			return &limitCount{limiter}, nil
		},
		NewMetadata: NewMetadata,
	})
}

// limitCount is one compiled config. It is immutable but for its limiter.
type limitCount struct{ limiter *Limiter }

// Blocks implements gateway.Blocker: local counters, and those that are only synchronized with Redis, do not wait.
func (l *limitCount) Blocks() bool { return l.limiter.Blocks() }

// Access implements gateway.Accessor.
func (l *limitCount) Access(x *gateway.Exchange) gateway.Verdict { return l.limiter.Take(x, 1) }

type config struct {
	Count        *limit.Number `json:"count"`
	TimeWindow   *limit.Number `json:"time_window"`
	WindowType   string        `json:"window_type"`
	Rules        []ruleConfig  `json:"rules"`
	Group        string        `json:"group"`
	Key          string        `json:"key"`
	KeyType      string        `json:"key_type"`
	RejectedCode int           `json:"rejected_code"`
	RejectedMsg  string        `json:"rejected_msg"`
	Policy       string        `json:"policy"`
	Degrade      bool          `json:"allow_degradation"`
	ShowHeaders  bool          `json:"show_limit_quota_header"`
	SyncInterval float64       `json:"sync_interval"`
}

type ruleConfig struct {
	Count        limit.Number `json:"count"`
	TimeWindow   limit.Number `json:"time_window"`
	Key          string       `json:"key"`
	HeaderPrefix string       `json:"header_prefix"`
}

// Refuse is gateway.Plugin.Refuse for this plugin and those that take its config.
func Refuse(raw json.RawMessage) error {
	var fields struct {
		Rules  json.RawMessage `json:"rules"`
		Count  json.RawMessage `json:"count"`
		Window json.RawMessage `json:"time_window"`
		Group  json.RawMessage `json:"group"`
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return err
	}
	if fields.Rules == nil {
		return nil
	}
	if fields.Count != nil || fields.Window != nil {
		return errors.New("count/time_window and rules cannot be specified at the same time")
	}
	if fields.Group != nil {
		return errors.New("group and rules cannot be specified at the same time")
	}
	return nil
}

// check says what the schema cannot.
func (c *config) check() error {
	keys := make(map[string]bool, len(c.Rules))
	for _, rule := range c.Rules {
		if keys[rule.Key] {
			return fmt.Errorf("duplicate key '%s' in rules", rule.Key)
		}
		keys[rule.Key] = true
	}
	if c.SyncInterval == -1 {
		return nil
	}
	if c.SyncInterval < 0.1 {
		return errors.New("sync_interval should not be smaller than 0.1")
	}
	windows := make([]limit.Number, 0, len(c.Rules)+1)
	if c.TimeWindow != nil {
		windows = append(windows, *c.TimeWindow)
	}
	for _, rule := range c.Rules {
		windows = append(windows, rule.TimeWindow)
	}
	for _, window := range windows {
		if seconds, ok := window.Constant(); ok && c.SyncInterval >= float64(seconds) {
			return errors.New("sync_interval should be smaller than time_window")
		}
	}
	return nil
}

// fieldNames are what the fields are called that tell clients of their quota.
type fieldNames struct{ limit, remaining, reset string }

var defaultNames = fieldNames{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}

// NewMetadata is gateway.Plugin.NewMetadata for this plugin and those that take its config.
func NewMetadata(_ gateway.Env, raw json.RawMessage) (any, error) {
	c := struct {
		Limit     string `json:"limit_header"`
		Remaining string `json:"remaining_header"`
		Reset     string `json:"reset_header"`
	}{defaultNames.limit, defaultNames.remaining, defaultNames.reset}
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("limit-count: metadata: %w", err)
	}
	return &fieldNames{c.Limit, c.Remaining, c.Reset}, nil
}

var (
	_ gateway.Accessor = (*limitCount)(nil)
	_ gateway.Blocker  = (*limitCount)(nil)
)
