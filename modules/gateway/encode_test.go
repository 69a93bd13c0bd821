// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"testing"
)

func TestAcceptsEncoding(t *testing.T) {
	for _, c := range []struct {
		fields []string
		want   bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{"gzip"}, true},
		{[]string{"GZIP ; q=0.1"}, true},
		{[]string{"deflate, br"}, false},
		{[]string{"deflate,gzip"}, true},
		{[]string{"deflate", "gzip"}, true},
		{[]string{"*"}, true},
		{[]string{"*;q=0"}, false},
		{[]string{"gzip;q=0"}, false},
		{[]string{"gzip; Q = 0.000 , *"}, false},
		{[]string{"*, gzip;q=0"}, false},
		{[]string{"*;q=0, gzip;q=1"}, true},
		{[]string{"gzip;q=0.001"}, true},
		{[]string{"xgzip, gzipx"}, false},
		{[]string{"gzip;q="}, true},
	} {
		var r Request
		for _, value := range c.fields {
			r.Header.Add("Accept-Encoding", value)
		}
		if got := r.AcceptsEncoding("gzip"); got != c.want {
			t.Errorf("%q: got %v", c.fields, got)
		}
	}
}

// brackets is an encoding that can be read; it fails on "!".
type brackets struct {
	released *int
}

func (b brackets) Encode(chunk []byte, last bool) ([]byte, error) {
	if string(chunk) == "!" {
		return nil, errors.New("failed")
	}
	end := "]"
	if last {
		end = "]."
	}
	return []byte("[" + string(chunk) + end), nil
}
func (b brackets) Release() { *b.released++ }

// bracketing is a plugin that brings brackets, and a body filter, of which the brackets must not know.
type bracketing struct {
	released int
	offered  int
	filtered bool
}

func (b *bracketing) Encode(x *Exchange) Encoding {
	b.offered++
	x.Response.Encoded("brackets")
	return brackets{&b.released}
}

func (b *bracketing) FilterBody(_ *Exchange, chunk []byte, _ bool) []byte {
	if b.filtered {
		return append([]byte("f"), chunk...)
	}
	return chunk
}

func TestEncoder(t *testing.T) {
	first, second := new(bracketing), &bracketing{filtered: true}
	route := &Route{Upstream: fakeUpstream(1), Chain: NewChain([]Entry{
		{Plugin: &Plugin{Name: "first"}, Priority: 2, Instance: first},
		{Plugin: &Plugin{Name: "second"}, Priority: 1, Instance: second},
	})}
	x := new(Exchange)
	respond := func(method string, status int, fields ...string) {
		x.Request.Method = method
		x.Begin(&fakeTable{route: route}, nil, nil)
		if step := x.Next(true); step != StepForward {
			t.Fatalf("step %v", step)
		}
		x.Pick()
		x.BeginResponse(status)
		for i := 0; i < len(fields); i += 2 {
			x.Response.Header.Add(fields[i], fields[i+1])
		}
		x.FilterHeader()
	}
	respond("GET", 200, "Content-Length", "2", "ETag", `"e"`)
	if !x.FiltersBody() || x.Response.Header.Get("ETag") != `W/"e"` || x.Response.Header.Get("Content-Length") != "" {
		t.Errorf("head: %v", x.Response.Header)
	}
	got := string(x.FilterBody([]byte("a"), false))
	got += string(x.FilterBody([]byte("b"), true))
	if got != "[fa][fb]." {
		t.Errorf("body: %s", got)
	}
	x.Finish()
	x.Reset()
	if first.offered != 1 || first.released != 1 || second.offered != 0 {
		t.Errorf("offered %d and %d times, released %d", first.offered, second.offered, first.released)
	}

	for _, c := range []struct {
		method string
		status int
		fields []string
	}{
		{"HEAD", 200, nil},
		{"GET", 204, nil},
		{"GET", 206, nil},
		{"GET", 304, nil},
		{"GET", 200, []string{"Content-Encoding", "gzip"}},
		{"GET", 200, []string{"Content-Range", "bytes 0-1/2"}},
		{"GET", 200, []string{"Cache-Control", "max-age=1, No-Transform"}},
	} {
		respond(c.method, c.status, c.fields...)
		x.Finish()
		x.Reset()
	}
	if first.offered != 1 || second.offered != 0 {
		t.Error("a response was offered that must not be encoded")
	}

	second.filtered = false
	respond("GET", 200)
	if x.FilterBody([]byte("!"), false); !x.Broken() {
		t.Error("an encoding that fails goes on")
	}
	x.Finish()
	if first.released != 2 {
		t.Error("an encoding that failed was not released")
	}
}
