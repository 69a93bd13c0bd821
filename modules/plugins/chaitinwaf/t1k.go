// SPDX-License-Identifier: Apache-2.0

package chaitinwaf

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/andogate/ando/modules/gateway"
)

// The detector's protocol, T1K, is a sequence of sections in either direction: a byte that says what it is, the length in four
// bytes, the lowest first, and the content. The first and the last section of a message are marked.
const (
	tagHead        = 0x01
	tagBody        = 0x02
	tagExtra       = 0x03
	tagVersion     = 0x20
	tagExtraHeader = 0x23
	tagExtraBody   = 0x24

	maskFirst = 0x40
	maskLast  = 0x80

	headSize = 5
)

// appendSection appends one section.
func appendSection(b []byte, tag byte, content []byte) []byte {
	b = binary.LittleEndian.AppendUint32(append(b, tag), uint32(len(content)))
	return append(b, content...)
}

// message asks about the request of an exchange: its head, as much of its body as the options say, and where it comes from.
func message(x *gateway.Exchange, body []byte, o options) []byte {
	head := head(&x.Request)
	if limit := min(o.BodySize, maxBody>>10) << 10; int64(len(body)) > limit {
		body = body[:limit]
	}
	b := make([]byte, 0, len(head)+len(body)+512)
	b = appendSection(b, tagHead|maskFirst, head)
	if len(body) > 0 {
		b = appendSection(b, tagBody, body)
	}
	b = appendSection(b, tagVersion, []byte("Proto:2\n"))
	return appendSection(b, tagExtra|maskLast, extra(x, o))
}

// head is the head of the request, as the client sent it.
func head(r *gateway.Request) []byte {
	b := make([]byte, 0, 512)
	b = append(append(b, r.Method...), ' ')
	b = append(append(b, r.Target...), " HTTP/"...)
	b = strconv.AppendInt(b, int64(r.ProtoMajor), 10)
	b = strconv.AppendInt(append(b, '.'), int64(r.ProtoMinor), 10)
	b = append(b, "\r\nHost: "...)
	b = append(append(b, r.RawHost...), "\r\n"...)
	for name, value := range r.Header.All() {
		b = append(append(b, name...), ": "...)
		b = append(append(b, value...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

var hostname = func() string {
	name, err := os.Hostname()
	if err != nil {
		return "ando"
	}
	return name
}()

// extra says what is not in the request itself.
func extra(x *gateway.Exchange, o options) []byte {
	r := &x.Request
	client := r.PeerIP()
	if o.RealIP == nil || *o.RealIP {
		client = r.ClientIP()
	}
	var b strings.Builder
	for _, field := range [...][2]string{
		{"UUID", uuid()},
		{"RemoteAddr", client},
		{"RemotePort", strconv.Itoa(int(r.Peer.Port()))},
		{"LocalAddr", r.Local.Addr().Unmap().String()},
		{"LocalPort", strconv.Itoa(int(r.Local.Port()))},
		{"Scheme", r.Scheme},
		{"ServerName", r.Host},
		{"ProxyName", hostname},
		{"ReqBeginTime", strconv.FormatInt(x.Start.UnixMicro(), 10)},
		{"HasRspIfOK", "n"},
		{"HasRspIfBlock", "n"},
	} {
		b.WriteString(field[0] + ":" + oneLine(field[1]) + "\n")
	}
	return []byte(b.String())
}

// uuid returns a random one (RFC 9562 section 5.4).
func uuid() string {
	var u [16]byte
	_, _ = rand.Read(u[:])
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// answer is what a detector says.
type answer struct {
	rejects bool
	// status is what a client gets that is refused, and event what the detector calls that.
	status int
	event  string
	// fields are for the response.
	fields []gateway.Field
}

const (
	// maxAnswer and maxSections bound an answer.
	maxAnswer, maxSections = 1 << 20, 64

	passes  = "."
	rejects = "?"
)

// readAnswer reads the sections of an answer and what they mean. One that nobody understands is an error.
func readAnswer(r *bufio.Reader) (*answer, error) {
	sections, err := readSections(r)
	if err != nil {
		return nil, err
	}
	a := &answer{status: 403, fields: extraFields(string(sections[tagExtraHeader]))}
	if match := eventID.FindSubmatch(sections[tagExtraBody]); match != nil {
		a.event = string(match[1])
	}
	if status, err := strconv.Atoi(string(sections[tagBody])); err == nil && status >= 200 && status <= 999 {
		a.status = status
		a.rejects = status != 200 && a.event != ""
	}
	switch action := string(sections[tagHead]); action {
	case passes:
	case rejects:
		a.rejects = true
	default:
		return nil, fmt.Errorf("unknown action %.20q", action)
	}
	if a.rejects && a.status == 200 {
		a.status = 403
	}
	return a, nil
}

var eventID = regexp.MustCompile(`<!-- event_id: ([A-Za-z0-9]+)(?: TYPE: [a-zA-Z])? -->`)

func readSections(r *bufio.Reader) (map[byte][]byte, error) {
	sections := make(map[byte][]byte, 4)
	left := maxAnswer
	for n := range maxSections {
		var head [headSize]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, err
		}
		tag, length := head[0], int(binary.LittleEndian.Uint32(head[1:]))
		if n == 0 && tag&maskFirst == 0 {
			return nil, errors.New("first packet is not MASK_FIRST")
		}
		if length > left {
			return nil, errors.New("the answer is too long")
		}
		left -= length
		content := make([]byte, length)
		if _, err := io.ReadFull(r, content); err != nil {
			return nil, err
		}
		sections[tag&^(maskFirst|maskLast)] = content
		if tag&maskLast != 0 {
			return sections, nil
		}
	}
	return nil, errors.New("the answer has too many packets")
}

// extraFields reads lines of the form name:value. What no response can have is left out, and so is what says where it ends.
func extraFields(text string) (fields []gateway.Field) {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		value = strings.TrimSpace(value)
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) || framing(name) {
			continue
		}
		fields = append(fields, gateway.Field{Name: name, Value: value})
	}
	return fields
}

func framing(name string) bool {
	for _, own := range [...]string{"Connection", "Content-Length", "Keep-Alive", "Trailer", "Transfer-Encoding", "Upgrade"} {
		if gateway.EqualFold(name, own) {
			return true
		}
	}
	return false
}
