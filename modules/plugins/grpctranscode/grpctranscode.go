// SPDX-License-Identifier: Apache-2.0

// Package grpctranscode is APISIX's grpc-transcode plugin: clients that speak HTTP and JSON call the methods of a gRPC
// service.
package grpctranscode

import (
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/protos"
)

//go:embed schema.json
var configSchema []byte

const name = "grpc-transcode"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 506, Version: 0.1, Schema: configSchema, New: compile,
	})
}

// maxRequestBody bounds what of a request is made a message of; above it is 413.
const maxRequestBody = 64 << 20

// frameHead is what stands before each message on the wire: whether it is compressed, and its length.
const frameHead = 5

// transcode is one compiled config. It is immutable.
type transcode struct {
	// method is nil when the proto object does not exist or cannot be used: every request is then answered 503.
	method protoreflect.MethodDescriptor
	target string
	// timeout is grpc-timeout; empty leaves the client's.
	timeout string
	format  format
	// maxResponse bounds the body of a response, and a message of one that streams.
	maxResponse int64

	showStatus bool
	// decodesDetails says that the status's details are messages of the type detail, which is nil when it is unknown.
	decodesDetails bool
	detail         protoreflect.MessageDescriptor
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		ProtoID     json.RawMessage `json:"proto_id"`
		Service     string          `json:"service"`
		Method      string          `json:"method"`
		Deadline    float64         `json:"deadline"`
		Options     []string        `json:"pb_option"`
		ShowStatus  bool            `json:"show_status_in_body"`
		Detail      string          `json:"status_detail_type"`
		MaxResponse int64           `json:"max_resp_body_size"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("grpc-transcode: %w", err)
	}
	p := &transcode{
		target: "/" + c.Service + "/" + c.Method, timeout: timeoutText(c.Deadline), format: readFormat(c.Options),
		maxResponse: c.MaxResponse, showStatus: c.ShowStatus, decodesDetails: c.Detail != "",
	}
	id := string(c.ProtoID)
	var text string
	if json.Unmarshal(c.ProtoID, &text) == nil {
		id = text
	}
	files, ok := env.Proto(id).(*protos.Files)
	if !ok {
		return p, nil
	}
	var err error
	if p.method, err = files.Method(c.Service, c.Method); err != nil {
		return nil, err
	}
	p.detail = files.Message(c.Detail)
	return p, nil
}

// timeoutText returns a number of milliseconds as grpc-timeout has it: at most eight digits. Less than one is one.
func timeoutText(milliseconds float64) string {
	switch {
	case milliseconds <= 0:
		return ""
	case milliseconds < 1e8:
		return strconv.FormatInt(int64(math.Ceil(milliseconds)), 10) + "m"
	default:
		return strconv.FormatInt(int64(math.Min(math.Ceil(milliseconds/1000), 99999999)), 10) + "S"
	}
}

// ReadsBody implements gateway.BodyReader.
func (p *transcode) ReadsBody() int64 { return maxRequestBody }

// NeedsBody implements gateway.BodyDecider.
func (p *transcode) NeedsBody(x *gateway.Exchange) bool {
	return p.method != nil && sourceOf(&x.Request) != fromQuery
}

// Access implements gateway.Accessor.
func (p *transcode) Access(x *gateway.Exchange) gateway.Verdict {
	if p.method == nil {
		return x.Exit(503, nil)
	}
	fields, err := readFields(x)
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge):
		return x.Exit(413, nil)
	case err != nil:
		return x.Exit(400, nil)
	}
	message := dynamicpb.NewMessage(p.method.Input())
	if err := fill(message, fields); err != nil {
		return x.Exit(400, nil)
	}
	frame, err := proto.MarshalOptions{AllowPartial: true}.MarshalAppend(make([]byte, frameHead, 256), message)
	if err != nil || int64(len(frame)) > math.MaxUint32 {
		return x.Exit(400, nil)
	}
	binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-frameHead))
	x.Forward.Method, x.Forward.Target = "POST", p.target
	x.ReplaceBody(frame)
	h := &x.Request.Header
	h.DelFunc(func(name, _ string) bool {
		// The first is of the body that was; the node is not to choose an encoding that the client asked for.
		return gateway.EqualFold(name, "Content-Encoding") || gateway.EqualFold(name, "Grpc-Encoding") ||
			gateway.EqualFold(name, "Grpc-Accept-Encoding")
	})
	h.Set("Content-Type", "application/grpc")
	h.Set("TE", "trailers")
	if p.timeout != "" {
		h.Set("Grpc-Timeout", p.timeout)
	}
	*x.State() = new(answer)
	return gateway.Continue
}

// answer is what one exchange keeps of its response, from the time when the call goes out.
type answer struct {
	// streams says that messages are passed on as they come.
	streams bool
	// frame is what has come of a message, out is sent.
	frame, out []byte
}

// answerOf returns nil when the response is not that of the method.
func answerOf(x *gateway.Exchange) *answer {
	a, _ := (*x.State()).(*answer)
	if a == nil || !x.Response.FromNode || x.Response.Status >= 300 {
		return nil
	}
	return a
}

// ReadsResponse implements gateway.ResponseReader: what became of a call is known when the trailers are there. Only of a
// method that streams the client gets the messages as they come.
func (p *transcode) ReadsResponse(x *gateway.Exchange) int64 {
	if answerOf(x) == nil || p.method.IsStreamingServer() {
		return 0
	}
	return p.maxResponse
}

// FilterHeader implements gateway.HeaderFilter.
func (p *transcode) FilterHeader(x *gateway.Exchange) {
	a := answerOf(x)
	if a == nil {
		return
	}
	r := &x.Response
	r.ClearBodyFields()
	r.Header.DelFunc(func(name, _ string) bool {
		return gateway.EqualFold(name, "Grpc-Encoding") || gateway.EqualFold(name, "Grpc-Accept-Encoding")
	})
	r.Header.Set("Content-Type", "application/json")
	if p.method.IsStreamingServer() {
		p.beginStream(r, a)
		return
	}
	for name, value := range r.Trailer.All() {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	body := r.Body
	r.Body = nil
	switch status := r.Header.Get("Grpc-Status"); status {
	case "0":
		p.succeed(r, body)
	case "":
		p.fail(r, "upstream grpc status not received")
	default:
		r.Status = statusOf(status)
		if p.showStatus {
			r.Body = p.statusBody(&r.Header)
		}
	}
}

// failedDecode is APISIX's text for a message that is none of its type.
const failedDecode = "failed to decode response data by protobuf"

// succeed makes the response of the one message that the body is to be.
func (p *transcode) succeed(r *gateway.Response, body []byte) {
	message, rest, ok := cutFrame(body)
	if !ok || len(rest) > 0 {
		p.fail(r, failedDecode)
		return
	}
	var err error
	if r.Body, err = p.transcribe(nil, message); err != nil {
		p.fail(r, failedDecode)
	}
}

// fail answers for a node that did not speak gRPC as it should.
func (p *transcode) fail(r *gateway.Response, text string) {
	r.Status, r.Body = 502, []byte(text)
	r.Header.Set("Content-Type", "text/plain; charset=utf-8")
}

// cutFrame takes a message off the front of b. ok is false when it is not all there, or compressed, which nobody asked for.
func cutFrame(b []byte) (message, rest []byte, ok bool) {
	if len(b) < frameHead || b[0] != 0 {
		return nil, b, false
	}
	length := int64(binary.BigEndian.Uint32(b[1:]))
	if int64(len(b)-frameHead) < length {
		return nil, b, false
	}
	return b[frameHead : frameHead+length], b[frameHead+length:], true
}

// transcribe appends a message as JSON.
func (p *transcode) transcribe(b, message []byte) ([]byte, error) {
	m := dynamicpb.NewMessage(p.method.Output())
	if err := (proto.UnmarshalOptions{AllowPartial: true, DiscardUnknown: true}).Unmarshal(message, m); err != nil {
		return b, err
	}
	return p.format.appendMessage(b, m), nil
}

var (
	_ gateway.Accessor       = (*transcode)(nil)
	_ gateway.BodyReader     = (*transcode)(nil)
	_ gateway.BodyDecider    = (*transcode)(nil)
	_ gateway.ResponseReader = (*transcode)(nil)
	_ gateway.HeaderFilter   = (*transcode)(nil)
	_ gateway.BodyFilter     = (*transcode)(nil)
)
