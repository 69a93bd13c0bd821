// SPDX-License-Identifier: Apache-2.0

package grpcweb

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// trailerFlag marks the frame that has the trailers (gRPC-Web protocol, "Trailers").
const trailerFlag = 0x80

// trailerFrame returns the frame that tells a client what browsers do not let it see. A node that has told its status in
// the head, since there is no message, has no such frame: it is in the client's head too.
func trailerFrame(r *gateway.Response) []byte {
	if r.Header.Get("Grpc-Status") != "" {
		return nil
	}
	status, message := r.Trailer.Get("Grpc-Status"), r.Trailer.Get("Grpc-Message")
	if status == "" {
		status, message = "2", "upstream grpc status not received"
	}
	frame := append([]byte{trailerFlag, 0, 0, 0, 0}, "grpc-status:"+status+"\r\ngrpc-message:"+message+"\r\n"...)
	for name, value := range r.Trailer.All() {
		name = strings.ToLower(name)
		if name != "grpc-status" && name != "grpc-message" {
			frame = append(frame, name+":"+value+"\r\n"...)
		}
	}
	binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-5))
	return frame
}

// appendText appends bytes as a piece of text that stands by itself, padding included: a client decodes it when it comes.
func appendText(out, b []byte) []byte { return base64.StdEncoding.AppendEncode(out, b) }

var errText = errors.New("the body is no base64")

// decodeText decodes the body of a request: pieces of base64, each with its padding.
func decodeText(text []byte) ([]byte, error) {
	out := make([]byte, 0, base64.StdEncoding.DecodedLen(len(text)))
	for len(text) > 0 {
		piece := text
		if padding := bytes.IndexByte(text, '='); padding >= 0 {
			// The piece ends with the group of four that is padded.
			piece = text[:min(len(text), (padding/4+1)*4)]
		}
		text = text[len(piece):]
		var err error
		if out, err = base64.StdEncoding.AppendDecode(out, piece); err != nil {
			return nil, errText
		}
	}
	return out, nil
}
