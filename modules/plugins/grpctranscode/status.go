// SPDX-License-Identifier: Apache-2.0

package grpctranscode

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/reply"
)

// statuses are HTTP's for those of gRPC, from 0 (OK) to 16 (UNAUTHENTICATED).
var statuses = [...]int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}

// unknownStatus is HTTP's for a status that gRPC does not have.
const unknownStatus = 599

// statusOf returns the HTTP status for the text of a grpc-status.
func statusOf(text string) int {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n >= uint64(len(statuses)) {
		return unknownStatus
	}
	return statuses[n]
}

// statusBody tells in JSON what became of a call: what grpc-status-details-bin says, or else grpc-status and grpc-message.
// What cannot be read is said in APISIX's words.
func (p *transcode) statusBody(h *gateway.Header) []byte {
	s := new(status.Status)
	encoded, ok := h.Lookup("Grpc-Status-Details-Bin")
	if !ok {
		code, _ := strconv.ParseInt(h.Get("Grpc-Status"), 10, 32)
		s.Code, s.Message = int32(code), h.Get("Grpc-Message")
		if plain, err := url.PathUnescape(s.Message); err == nil {
			s.Message = plain
		}
		return p.appendStatus(nil, s)
	}
	binary, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return []byte("grpc-status-details-bin is not in base64 format")
	}
	if proto.Unmarshal(binary, s) != nil {
		return []byte("failed to call pb.decode to decode grpc-status-details-bin")
	}
	return p.appendStatus(nil, s)
}

// appendStatus appends the body that tells a status.
func (p *transcode) appendStatus(b []byte, s *status.Status) []byte {
	b = append(b, `{"error":{"code":`...)
	b = strconv.AppendInt(b, int64(s.Code), 10)
	b = append(b, `,"message":`...)
	b = reply.AppendText(b, s.Message)
	for i, detail := range s.Details {
		if i == 0 {
			b = append(b, `,"details":[`...)
		} else {
			b = append(b, ',')
		}
		if !p.decodesDetails {
			b = append(b, `{"type_url":`...)
			b = reply.AppendText(b, detail.TypeUrl)
			b = append(b, `,"value":`...)
			b = append(reply.AppendText(b, string(detail.Value)), '}')
			continue
		}
		if p.detail == nil {
			return []byte(failedDetails)
		}
		m := dynamicpb.NewMessage(p.detail)
		if (proto.UnmarshalOptions{AllowPartial: true, DiscardUnknown: true}).Unmarshal(detail.Value, m) != nil {
			return []byte(failedDetails)
		}
		b = p.format.appendMessage(b, m)
	}
	if len(s.Details) > 0 {
		b = append(b, ']')
	}
	return append(b, "}}"...)
}

// failedDetails is APISIX's text for details that are not of the type that the config names.
const failedDetails = "failed to call pb.decode to decode details in grpc-status-details-bin"
