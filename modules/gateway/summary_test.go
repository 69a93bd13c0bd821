// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/json"
	"regexp"
	"testing"

	"go.uber.org/zap/zapcore"
)

// summarize ends the exchange and returns what a log would say of it, without times.
func summarize(t *testing.T, x *Exchange) string {
	t.Helper()
	x.Finish()
	var s Summary
	s.Take(x)
	if s.Empty() {
		return ""
	}
	buffer, err := zapcore.NewJSONEncoder(zapcore.EncoderConfig{}).EncodeEntry(zapcore.Entry{}, []zapcore.Field{s.Clone().Field()})
	if err != nil {
		t.Fatal(err)
	}
	var line struct{ Ando json.RawMessage }
	if err := json.Unmarshal(buffer.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`"upstream_time":\[[^\]]*\]`).ReplaceAllString(string(line.Ando), `"upstream_time":"T"`)
}

func TestSummary(t *testing.T) {
	exit := func(status int) *Chain {
		does := map[string]func(*Exchange) Verdict{"access": func(x *Exchange) Verdict { return x.Exit(status, nil) }}
		return NewChain([]Entry{entry(&probe{trail: new(trail), does: does}, "guard", 1)})
	}
	const oneNode = `"upstream_addr":["node:1"],"upstream_status":`
	for _, c := range []struct {
		name  string
		route *Route
		run   func(x *Exchange)
		want  string
	}{
		{"no route", nil, func(x *Exchange) {}, `{"failed_by":"client","phase":"match","reason":"no route"}`},
		{
			"a route with a fault", &Route{ID: "r", Fault: 503, FaultReason: "why"},
			func(x *Exchange) {}, `{"route":"r","failed_by":"gateway","phase":"match","reason":"why"}`,
		},
		{
			"a plugin refuses", &Route{ID: "r", Chain: exit(401)},
			func(x *Exchange) {}, `{"route":"r","failed_by":"client","phase":"plugin","reason":"guard"}`,
		},
		{
			"a plugin fails", &Route{ID: "r", Chain: exit(500)},
			func(x *Exchange) {}, `{"route":"r","failed_by":"gateway","phase":"plugin","reason":"guard"}`,
		},
		{"a plugin answers", &Route{ID: "r", Chain: exit(200)}, func(x *Exchange) {}, `{"route":"r"}`},
		{
			"no upstream", &Route{ID: "r"},
			func(x *Exchange) {}, `{"route":"r","failed_by":"gateway","phase":"balance","reason":"the route has no upstream"}`,
		},
		{"forwarded", &Route{ID: "r", Upstream: fakeUpstream(1)}, func(x *Exchange) {
			x.Pick()
			x.BeginResponse(200)
		}, `{"route":"r",` + oneNode + `[200],"upstream_time":"T"}`},
		{"a later attempt makes good", &Route{Upstream: fakeUpstream(2)}, func(x *Exchange) {
			x.Pick()
			x.Failed(FailedConnect, true)
			x.Pick()
			x.BeginResponse(200)
		}, `{"upstream_addr":["node:1","node:1"],"upstream_status":[502,200],"upstream_time":"T"}`},
		{"no connection", &Route{Upstream: fakeUpstream(1)}, func(x *Exchange) {
			x.Pick()
			x.Failed(FailedConnect, true)
		}, `{` + oneNode + `[502],"upstream_time":"T","failed_by":"upstream","phase":"connect","reason":"no connection"}`},
		{"too slow to take the request", &Route{Upstream: fakeUpstream(1)}, func(x *Exchange) {
			x.Pick()
			x.Forward.Phase = PhaseSend
			x.Failed(FailedTimeout, true)
		}, `{` + oneNode + `[504],"upstream_time":"T","failed_by":"upstream","phase":"send","reason":"timeout"}`},
		{"the node says that it failed", &Route{Upstream: fakeUpstream(1)}, func(x *Exchange) {
			x.Pick()
			x.BeginResponse(500)
		}, `{` + oneNode + `[500],"upstream_time":"T","failed_by":"upstream","phase":"answer"}`},
		{"the client has gone", &Route{Upstream: fakeUpstream(1)}, func(x *Exchange) {
			x.Pick()
		}, `{` + oneNode + `[0],"upstream_time":"T","failed_by":"client","phase":"wait","reason":"client has gone"}`},
		{"a consumer", &Route{Upstream: fakeUpstream(1)}, func(x *Exchange) {
			x.AttachConsumer(&Consumer{Name: "jack"}, "")
			x.Response.Status = 200
		}, `{"consumer":"jack"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newExchange(&fakeTable{route: c.route})
			x.Next(true)
			c.run(x)
			if got := summarize(t, x); got != c.want {
				t.Errorf("got\n\t%s\nwant\n\t%s", got, c.want)
			}
			x.Reset()
			if x.Blamed() != (Blame{}) {
				t.Error("the next exchange is to blame as well")
			}
		})
	}
}
