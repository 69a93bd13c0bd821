// SPDX-License-Identifier: Apache-2.0

package grpctranscode

import "github.com/andogate/ando/modules/gateway"

// beginStream readies the head of a response whose messages go on as they come, each as JSON on a line of its own. A call
// that failed before its first message has its status in the head, as any other; one that fails later has it in the
// trailers alone.
func (p *transcode) beginStream(r *gateway.Response, a *answer) {
	a.streams = true
	if status := r.Header.Get("Grpc-Status"); status != "" && status != "0" {
		r.Status = statusOf(status)
		a.streams = false
	}
}

// FilterBody implements gateway.BodyFilter. A response that was held has its body by now.
func (p *transcode) FilterBody(x *gateway.Exchange, chunk []byte, last bool) []byte {
	a, _ := (*x.State()).(*answer)
	switch {
	case a == nil || !p.method.IsStreamingServer() || !x.Response.FromNode:
		return chunk
	case !a.streams && x.Response.Header.Get("Grpc-Status") == "":
		// No answer of the method: it passes as it is.
		return chunk
	case !a.streams:
		if last && p.showStatus {
			return p.statusBody(&x.Response.Header)
		}
		return nil
	}
	a.frame, a.out = append(a.frame, chunk...), a.out[:0]
	rest := a.frame
	for {
		message, after, ok := cutFrame(rest)
		if !ok {
			break
		}
		if int64(len(message)) > p.maxResponse {
			x.Break()
			return nil
		}
		var err error
		if a.out, err = p.transcribe(a.out, message); err != nil {
			x.Break()
			return nil
		}
		a.out, rest = append(a.out, '\n'), after
	}
	a.frame = append(a.frame[:0], rest...)
	if compressed := len(rest) > 0 && rest[0] != 0; compressed || int64(len(rest)) > p.maxResponse+frameHead {
		x.Break()
		return nil
	}
	if last {
		p.endStream(x, a)
	}
	return a.out
}

// endStream tells what became of a call after its messages. One that ends without a status, or in the middle of a message,
// has not come to its end.
func (p *transcode) endStream(x *gateway.Exchange, a *answer) {
	status := x.Response.Trailer.Get("Grpc-Status")
	if status == "" {
		status = x.Response.Header.Get("Grpc-Status")
	}
	switch {
	case status == "" || len(a.frame) > 0:
		x.Break()
	case status != "0" && p.showStatus:
		a.out = append(append(a.out, p.statusBody(&x.Response.Trailer)...), '\n')
	}
}
