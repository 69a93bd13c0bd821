// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Summary is what an access log says of an exchange beyond what HTTP itself knows. It outlives the exchange, and what it
// was taken from is used again with the next Take.
type Summary struct {
	RouteID, Consumer string
	Attempts          []Attempt
	Blame             Blame
}

// Take fills the summary in. It is called when the exchange is over.
func (s *Summary) Take(x *Exchange) {
	s.RouteID, s.Consumer = "", ""
	if x.Route != nil {
		s.RouteID = x.Route.ID
	}
	if x.Consumer != nil {
		s.Consumer = x.Consumer.Name
	}
	s.Attempts = append(s.Attempts[:0], x.Forward.Attempts...)
	s.Blame = x.blame
}

// Drop lets go of what the summary refers to, and keeps its memory.
func (s *Summary) Drop() {
	clear(s.Attempts)
	*s = Summary{Attempts: s.Attempts[:0]}
}

// Clone returns a copy that shares nothing with s.
func (s *Summary) Clone() *Summary {
	c := *s
	c.Attempts = slices.Clone(s.Attempts)
	return &c
}

// Field is the summary as the one field `ando` of a log line. The line must be written before the summary changes.
func (s *Summary) Field() zap.Field { return zap.Object("ando", s) }

// Empty reports whether there is nothing to say.
func (s *Summary) Empty() bool {
	return s.RouteID == "" && s.Consumer == "" && len(s.Attempts) == 0 && s.Blame.By == Nobody
}

// MarshalLogObject writes what there is to say and nothing else. upstream_addr, upstream_status and upstream_time have
// one element for each attempt; the status stands for a failure as the client would see it, 0 is an attempt that the
// client did not wait for; times are in seconds, until the response head or the failure.
func (s *Summary) MarshalLogObject(e zapcore.ObjectEncoder) error {
	if s.RouteID != "" {
		e.AddString("route", s.RouteID)
	}
	if s.Consumer != "" {
		e.AddString("consumer", s.Consumer)
	}
	if len(s.Attempts) > 0 {
		// Encoding numbers and strings does not fail.
		_ = e.AddArray("upstream_addr", (*attemptAddrs)(s))
		_ = e.AddArray("upstream_status", (*attemptStatuses)(s))
		_ = e.AddArray("upstream_time", (*attemptTimes)(s))
	}
	if s.Blame.By != Nobody {
		e.AddString("failed_by", s.Blame.By.String())
		e.AddString("phase", string(s.Blame.Phase))
		if s.Blame.Reason != "" {
			e.AddString("reason", s.Blame.Reason)
		}
	}
	return nil
}

type (
	attemptAddrs    Summary
	attemptStatuses Summary
	attemptTimes    Summary
)

// MarshalLogArray implements zapcore.ArrayMarshaler.
func (s *attemptAddrs) MarshalLogArray(e zapcore.ArrayEncoder) error {
	for i := range s.Attempts {
		e.AppendString(s.Attempts[i].Node.Addr)
	}
	return nil
}

// MarshalLogArray implements zapcore.ArrayMarshaler.
func (s *attemptStatuses) MarshalLogArray(e zapcore.ArrayEncoder) error {
	for i := range s.Attempts {
		e.AppendInt(s.Attempts[i].Status)
	}
	return nil
}

// MarshalLogArray implements zapcore.ArrayMarshaler.
func (s *attemptTimes) MarshalLogArray(e zapcore.ArrayEncoder) error {
	for i := range s.Attempts {
		e.AppendFloat64(s.Attempts[i].Took.Seconds())
	}
	return nil
}

var _ zapcore.ObjectMarshaler = (*Summary)(nil)
