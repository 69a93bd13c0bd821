// SPDX-License-Identifier: Apache-2.0

// Package chaitinwaf is APISIX's chaitin-waf plugin: the detector of a SafeLine web application firewall decides who may pass.
package chaitinwaf

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

//go:embed metadata_schema.json
var metadataSchema []byte

const name = "chaitin-waf"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 2700, Version: 0.1, Blocking: true, Schema: configSchema, MetadataSchema: metadataSchema,
		New: compile, NewMetadata: compileMetadata,
	})
}

// The modes.
const (
	off     = "off"
	monitor = "monitor"
	block   = "block"
)

// waf is one compiled config. It is immutable.
type waf struct {
	log func() *zap.Logger
	// mode is empty where the metadata decides.
	mode string
	// match has conditions of which one has to hold; nil is no condition.
	match []gateway.Predicate
	reads bool
	// shows and debugs say what clients are told.
	shows, debugs bool
	options       options
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Mode  string `json:"mode"`
		Match []struct {
			Vars json.RawMessage `json:"vars"`
		} `json:"match"`
		Shows   bool    `json:"append_waf_resp_header"`
		Debugs  bool    `json:"append_waf_debug_header"`
		Options options `json:"config"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("chaitin-waf: %w", err)
	}
	w := &waf{log: env.Log, mode: c.Mode, shows: c.Shows, debugs: c.Debugs, options: c.Options}
	for _, m := range c.Match {
		e, err := expr.Compile(m.Vars)
		if err != nil {
			return nil, fmt.Errorf("failed to validate the 'vars' expression: %w", err)
		}
		w.reads = w.reads || e.ReadsBody
		if e.Match == nil {
			e.Match = func(*gateway.Exchange) bool { return true }
		}
		w.match = append(w.match, e.Match)
	}
	return w, nil
}

// maxBody is how long a body may be of which the detector is sent a part.
const maxBody = 64 << 20

// ReadsBody implements gateway.BodyReader.
func (w *waf) ReadsBody() int64 {
	if w.mode == off {
		return 0
	}
	return maxBody
}

// NeedsBody implements gateway.BodyDecider: what the detector is not asked about is not read for it.
func (w *waf) NeedsBody(x *gateway.Exchange) bool {
	if w.reads {
		return true
	}
	meta := metadataOf(x)
	return meta != nil && w.modeOf(meta) != off && w.matches(x)
}

func metadataOf(x *gateway.Exchange) *metadata {
	meta, _ := x.Table.Metadata(name).(*metadata)
	return meta
}

func (w *waf) modeOf(meta *metadata) string {
	if w.mode != "" {
		return w.mode
	}
	return meta.mode
}

// Blocks implements gateway.Blocker.
func (w *waf) Blocks() bool { return w.mode != off }

// Access implements gateway.Accessor.
func (w *waf) Access(x *gateway.Exchange) gateway.Verdict {
	meta := metadataOf(x)
	if meta == nil {
		w.tell(x, "err", "missing metadata", "")
		return x.Exit(http.StatusInternalServerError, nil)
	}
	mode := w.modeOf(meta)
	switch {
	case mode == off:
		w.tell(x, off, "", "")
		return gateway.Continue
	case !w.matches(x):
		w.tell(x, "no", "", "")
		return gateway.Continue
	}
	body, err := x.Body()
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge) && mode == block:
		return x.Exit(http.StatusRequestEntityTooLarge, nil)
	case errors.Is(err, gateway.ErrBodyTooLarge):
		body = nil
	case err != nil:
		return x.Exit(http.StatusBadRequest, nil)
	}
	began := time.Now()
	d := meta.pick(began)
	if d == nil {
		w.tell(x, "unhealthy", "no healthy nodes", "")
		return w.failed(x, mode, errors.New("no healthy nodes"))
	}
	o := w.options.over(meta.options)
	answer, err := d.ask(x.Context(), o, message(x, body, o))
	if w.shows {
		x.Response.Header.Set(headerTime, strconv.FormatInt(time.Since(began).Milliseconds(), 10))
	}
	if err != nil {
		status := "waf-err"
		if timedOut(err) {
			status = "timeout"
		}
		w.tell(x, status, err.Error(), d.host)
		return w.failed(x, mode, err)
	}
	w.tell(x, "yes", "", d.host)
	if mode == block && len(answer.fields) > 0 {
		*x.State() = answer.fields
	}
	return w.decide(x, mode, answer)
}

func (w *waf) matches(x *gateway.Exchange) bool {
	for _, holds := range w.match {
		if holds(x) {
			return true
		}
	}
	return len(w.match) == 0
}

// failed decides when no detector does: who only watches does not stand in the way.
func (w *waf) failed(x *gateway.Exchange, mode string, err error) gateway.Verdict {
	w.log().Warn("chaitin-waf has no answer of a detector", zap.String("mode", mode), zap.Error(err))
	if mode == monitor {
		return gateway.Continue
	}
	return x.Exit(http.StatusInternalServerError, nil)
}

// decide does what the detector says.
func (w *waf) decide(x *gateway.Exchange, mode string, answer *answer) gateway.Verdict {
	if !answer.rejects {
		if w.shows {
			x.Response.Header.Set(headerStatus, "200")
			x.Response.Header.Set(headerAction, "pass")
		}
		return gateway.Continue
	}
	status := strconv.Itoa(answer.status)
	if w.shows {
		x.Response.Header.Set(headerStatus, status)
		x.Response.Header.Set(headerAction, "reject")
	}
	if mode == monitor {
		w.log().Warn("chaitin-waf monitor mode: request would have been rejected", zap.String("event_id", answer.event))
		return gateway.Continue
	}
	return x.Exit(answer.status, []byte(`{"code": `+status+
		`, "success":false, "message": "blocked by Chaitin SafeLine Web Application Firewall", "event_id": "`+answer.event+"\"}\n"))
}

// What clients are told.
const (
	headerWAF    = "X-APISIX-CHAITIN-WAF"
	headerError  = "X-APISIX-CHAITIN-WAF-ERROR"
	headerTime   = "X-APISIX-CHAITIN-WAF-TIME"
	headerStatus = "X-APISIX-CHAITIN-WAF-STATUS"
	headerAction = "X-APISIX-CHAITIN-WAF-ACTION"
	headerServer = "X-APISIX-CHAITIN-WAF-SERVER"
)

// tell says in the response what became of the question; problem and server are for debugging.
func (w *waf) tell(x *gateway.Exchange, outcome, problem, server string) {
	if !w.shows {
		return
	}
	h := &x.Response.Header
	h.Set(headerWAF, outcome)
	if !w.debugs {
		return
	}
	if problem != "" {
		h.Set(headerError, oneLine(problem))
	}
	if server != "" {
		h.Set(headerServer, server)
	}
}

// oneLine makes a field's value of an error.
func oneLine(problem string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, problem)
}

// FilterHeader implements gateway.HeaderFilter: the detector may have fields for the client.
func (w *waf) FilterHeader(x *gateway.Exchange) {
	fields, _ := (*x.State()).([]gateway.Field)
	for _, f := range fields {
		x.Response.Header.Set(f.Name, f.Value)
	}
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

var (
	_ gateway.Accessor     = (*waf)(nil)
	_ gateway.BodyReader   = (*waf)(nil)
	_ gateway.BodyDecider  = (*waf)(nil)
	_ gateway.HeaderFilter = (*waf)(nil)
	_ gateway.Blocker      = (*waf)(nil)
)
