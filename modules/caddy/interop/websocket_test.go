// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestWebSocket sends the conversations to an echo server of Autobahn|Python's, directly and through Ando: what comes back
// is the same, frame for frame, whether the conversation is a proper one or not.
func TestWebSocket(t *testing.T) {
	node := startAutobahn(t)
	conversations := conversations()
	want := make([]string, len(conversations))
	failed := 0
	for i := range conversations {
		want[i] = converse(t, node, nil, &conversations[i])
		if !strings.Contains(want[i], conversations[i].want) {
			t.Errorf("%s: the server itself answers %.300s, want %s", conversations[i].name, want[i], conversations[i].want)
		}
		if strings.Contains(want[i], "close 1002") || strings.Contains(want[i], "close 1007") {
			failed++
		}
	}
	t.Logf("%d conversations, %d of them improper", len(conversations), failed)
	for _, lane := range lanes() {
		t.Run(lane, func(t *testing.T) {
			a := start(t, lane, route(to("http", node)))
			for i := range conversations {
				c := &conversations[i]
				if got := converse(t, a.plain, nil, c); got != want[i] {
					t.Errorf("%s:\ngot  %.300s\nwant %.300s", c.name, got, want[i])
				}
				if got := converse(t, a.secure, a.identity.trusts(), c); got != want[i] {
					t.Errorf("%s, over TLS:\ngot  %.300s\nwant %.300s", c.name, got, want[i])
				}
			}
		})
	}
}

func startAutobahn(t *testing.T) (address string) {
	t.Helper()
	// Debian's Python has Debian's packages; another one that comes first may not.
	python := program(t, "/usr/bin/python3", "python3-autobahn")
	if err := exec.Command(python, "-c", "import autobahn").Run(); err != nil {
		t.Skip("Autobahn|Python is not installed: apt-get install python3-autobahn")
	}
	address = freeAddress(t)
	run(t, address, python, "testdata/echo.py", address[strings.LastIndexByte(address, ':')+1:])
	return address
}

// conversation is what a client sends, and which of the server's answers shows that it was understood.
type conversation struct {
	name string
	sent []byte
	// pieces is the size of what is written at once; 0 is everything.
	pieces  int
	deflate bool
	// want is a part of what comes back.
	want string
}

// converse sends a conversation and tells what came back, until the server closed.
func converse(t *testing.T, address string, config *tls.Config, c *conversation) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	if config != nil {
		conn = tls.Client(conn, config)
	}
	extension := ""
	if c.deflate {
		extension = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover\r\n"
	}
	fmt.Fprintf(conn, "GET /chat?x=1 HTTP/1.1\r\nHost: site.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n", extension)
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("%s: %v, %v", c.name, response, err)
		return ""
	}
	if got := response.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("%s: Sec-WebSocket-Accept %q", c.name, got)
	}
	go func() {
		rest := c.sent
		for len(rest) > 0 {
			n := len(rest)
			if c.pieces > 0 {
				n = min(n, c.pieces)
			}
			if _, err := conn.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	var heard strings.Builder
	fmt.Fprintf(&heard, "%s;", response.Header.Get("Sec-WebSocket-Extensions"))
	for {
		frame, err := readFrame(r)
		if err != nil {
			// A server that gives up on what it is sent resets the connection, by itself and behind a gateway.
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
				fmt.Fprintf(&heard, " %v", err)
			}
			return heard.String()
		}
		fmt.Fprintf(&heard, " %s", frame)
	}
}

// readFrame tells what a frame of the server's is.
func readFrame(r *bufio.Reader) (string, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", err
	}
	length := uint64(head[1] & 127)
	var err error
	switch length {
	case 126:
		var short uint16
		err = binary.Read(r, binary.BigEndian, &short)
		length = uint64(short)
	case 127:
		err = binary.Read(r, binary.BigEndian, &length)
	}
	if err != nil {
		return "", err
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return "", err
	}
	opcode := head[0] & 15
	switch {
	case opcode == opClose && len(payload) >= 2:
		return fmt.Sprintf("close %d", binary.BigEndian.Uint16(payload)), nil
	case len(payload) > 40:
		return fmt.Sprintf("%02x %d bytes, %08x", head[0], len(payload), checksum(payload)), nil
	}
	return fmt.Sprintf("%02x %q", head[0], payload), nil
}

func checksum(b []byte) (sum uint32) {
	for _, c := range b {
		sum = sum*31 + uint32(c)
	}
	return sum
}

// The opcodes of RFC 6455 section 5.2, and FIN.
const (
	opMore, opText, opBinary = 0, 1, 2
	opClose, opPing, opPong  = 8, 9, 10
	fin                      = 0x80
)

// frame returns a masked frame. first is its first byte: FIN, the reserved bits and the opcode.
func frame(first byte, payload string) []byte {
	out := []byte{first}
	switch n := len(payload); {
	case n < 126:
		out = append(out, 0x80|byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, 0x80|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, 0x80|127), uint64(n))
	}
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	out = append(out, mask[:]...)
	for i := range len(payload) {
		out = append(out, payload[i]^mask[i&3])
	}
	return out
}

func closing(code uint16, reason string) []byte {
	return frame(fin|opClose, string(binary.BigEndian.AppendUint16(nil, code))+reason)
}

var (
	goodbye = closing(1000, "")
	join    = func(frames ...[]byte) []byte { return bytes.Join(append(frames, goodbye), nil) }
)

// echoed is what readFrame says of a message that comes back.
func echoed(first byte, payload string) string {
	text, _ := readFrame(bufio.NewReader(bytes.NewReader(unmasked(first, payload))))
	return text
}

func unmasked(first byte, payload string) []byte {
	out := []byte{first, 127}
	out = binary.BigEndian.AppendUint64(out, uint64(len(payload)))
	return append(out, payload...)
}

// deflated compresses a message as RFC 7692 section 7.2.1 says.
func deflated(text string) string {
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, flate.DefaultCompression)
	_, _ = io.WriteString(w, text)
	_ = w.Flush()
	return strings.TrimSuffix(out.String(), "\x00\x00\xff\xff")
}

// conversations covers what the Autobahn test suite does, in its order: messages of every size class, pings, reserved bits
// and opcodes, fragments, UTF-8, closes, much data, and compression.
func conversations() []conversation {
	var all []conversation
	add := func(name, want string, frames ...[]byte) {
		all = append(all, conversation{name: name, sent: join(frames...), want: want})
	}
	inPieces := func(size int) { all[len(all)-1].pieces = size }
	text := func(n int) string { return strings.Repeat("*", n) }

	for _, n := range []int{0, 125, 126, 127, 128, 65535, 65536} {
		for op, name := range map[byte]string{opText: "text", opBinary: "binary"} {
			add(fmt.Sprintf("1 %s of %d", name, n), echoed(fin|op, text(n)), frame(fin|op, text(n)))
			add(fmt.Sprintf("1 %s of %d in pieces", name, n), echoed(fin|op, text(n)), frame(fin|op, text(n)))
			inPieces(997)
		}
	}
	for name, payload := range map[string]string{
		"empty": "", "text": "hello", "binary": "\x00\xff\xfe\xfd\xfc\xfb\x00\xff", "125": text(125),
	} {
		add("2 ping "+name, echoed(fin|opPong, payload), frame(fin|opPing, payload))
		add("2 ping bytewise "+name, echoed(fin|opPong, payload), frame(fin|opPing, payload))
		inPieces(1)
	}
	add("2 ping of 126", "close 1002", frame(fin|opPing, text(126)))
	add("2 unasked pong", "close 1000", frame(fin|opPong, "unasked"))
	add("2 pong and ping", echoed(fin|opPong, "ping"), frame(fin|opPong, "pong"), frame(fin|opPing, "ping"))
	var pings [][]byte
	for i := range 10 {
		pings = append(pings, frame(fin|opPing, fmt.Sprint(i)))
	}
	add("2 ten pings", echoed(fin|opPong, "9"), pings...)
	add("2 ten pings bytewise", echoed(fin|opPong, "9"), pings...)
	inPieces(1)

	for bits := byte(1); bits < 8; bits++ {
		add(fmt.Sprintf("3 reserved bits %03b", bits), "close 1002", frame(fin|opText, "before"), frame(fin|bits<<4|opText, "hello"), frame(fin|opPing, ""))
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		add(fmt.Sprintf("4 opcode %d", op), "close 1002", frame(fin|opText, "before"), frame(fin|op, "hello"), frame(fin|opPing, ""))
	}

	add("5 fragmented ping", "close 1002", frame(opPing, "a"), frame(fin|opMore, "b"))
	add("5 fragmented pong", "close 1002", frame(opPong, "a"), frame(fin|opMore, "b"))
	for _, pieces := range []int{0, 1} {
		add("5 two fragments", echoed(fin|opText, "onetwo"), frame(opText, "one"), frame(fin|opMore, "two"))
		inPieces(pieces)
		add("5 a ping between", echoed(fin|opPong, "ping"), frame(opText, "one"), frame(fin|opPing, "ping"), frame(fin|opMore, "two"))
		inPieces(pieces)
	}
	add("5 continuation of nothing", "close 1002", frame(fin|opMore, "more"), frame(fin|opText, "hello"))
	add("5 unfinished continuation of nothing", "close 1002", frame(opMore, "more"), frame(fin|opText, "hello"))
	add("5 a message within a message", "close 1002", frame(opText, "one"), frame(fin|opText, "two"))
	add("5 five fragments and pings", echoed(fin|opText, "abcde"), frame(opText, "a"), frame(opMore, "b"), frame(fin|opPing, "1"),
		frame(opMore, "c"), frame(opMore, "d"), frame(fin|opPing, "2"), frame(fin|opMore, "e"))

	for name, payload := range map[string]string{
		"Greek": "κόσμε", "last of two bytes": "\u07ff", "last of three bytes": "\uffff", "last of all": "\U0010ffff",
		"not a character": "\ufffe", "empty": "",
	} {
		add("6 "+name, echoed(fin|opText, payload), frame(fin|opText, payload))
		var bytewise [][]byte
		for i := range len(payload) {
			bytewise = append(bytewise, frame(map[bool]byte{true: opText, false: opMore}[i == 0], payload[i:i+1]))
		}
		if len(payload) > 0 {
			add("6 fragments of a byte, "+name, echoed(fin|opText, payload), append(bytewise, frame(fin|opMore, ""))...)
		}
	}
	for name, payload := range map[string]string{
		"surrogate": "κόσμε\xed\xa0\x80edited", "beyond": "\xf4\x90\x80\x80", "continuation": "\x80", "start alone": "\xc0 ",
		"impossible": "\xfe\xff", "overlong": "\xc0\xaf", "overlong null": "\xe0\x80\x80", "incomplete": "\xce",
		"five bytes": "\xf8\x88\x80\x80\x80", "pair of surrogates": "\xed\xa0\x80\xed\xb0\x80",
	} {
		add("6 invalid, "+name, "close 1007", frame(fin|opText, payload))
		add("6 invalid, second fragment, "+name, "close 1007", frame(opText, "one "), frame(fin|opMore, payload))
	}

	add("7 close", "close 1000")
	add("7 two closes", "close 1000", goodbye)
	add("7 after a close", "close 1000", goodbye, frame(fin|opText, "late"), frame(fin|opPing, ""))
	all = append(all,
		conversation{name: "7 empty close", sent: frame(fin|opClose, ""), want: echoed(fin|opClose, "")},
		conversation{name: "7 close of one byte", sent: frame(fin|opClose, "x"), want: "close 1002"},
		conversation{name: "7 close with a reason", sent: closing(1000, text(123)), want: "close 1000"},
		conversation{name: "7 close too long", sent: closing(1000, text(124)), want: "close 1002"},
		conversation{name: "7 reason that is no text", sent: closing(1000, "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"), want: "close 1007"},
		conversation{name: "7 close within a message", sent: slices.Concat(frame(opText, "one"), goodbye), want: "close 1000"},
	)
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		all = append(all, conversation{name: fmt.Sprintf("7 code %d", code), sent: closing(code, ""), want: fmt.Sprintf("close %d", code)})
	}
	for _, code := range []uint16{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535} {
		all = append(all, conversation{name: fmt.Sprintf("7 invalid code %d", code), sent: closing(code, ""), want: "close 1002"})
	}

	sizes, fragments, count := []int{64 << 10, 1 << 20}, []int{4 << 10, 64 << 10}, 200
	if full {
		sizes, fragments, count = append(sizes, 4<<20, 8<<20, 16<<20), append(fragments, 64, 256, 1<<10, 16<<10, 1<<20), 2000
	}
	for _, size := range sizes {
		for op, payload := range map[byte]string{opText: text(size), opBinary: content(size)} {
			add(fmt.Sprintf("9 opcode %d, %d bytes", op, size), echoed(fin|op, payload), frame(fin|op, payload))
			add(fmt.Sprintf("9 opcode %d, %d bytes in pieces", op, size), echoed(fin|op, payload), frame(fin|op, payload))
			inPieces(1024)
		}
	}
	for _, piece := range fragments {
		size := sizes[len(sizes)-1]
		if piece < 4<<10 {
			size = 1 << 20
		}
		payload := content(size)
		frames := [][]byte{frame(opBinary, payload[:piece])}
		for at := piece; at < size; at += piece {
			frames = append(frames, frame(opMore, payload[at:min(at+piece, size)]))
		}
		add(fmt.Sprintf("9 %d bytes in fragments of %d", size, piece), echoed(fin|opBinary, payload), append(frames, frame(fin|opMore, ""))...)
	}
	for _, size := range []int{0, 16, 64, 256, 1024, 4096} {
		var frames [][]byte
		for range count {
			frames = append(frames, frame(fin|opText, text(size)))
		}
		add(fmt.Sprintf("9 %d messages of %d", count, size), strings.Repeat(" "+echoed(fin|opText, text(size)), count), frames...)
	}

	for _, size := range []int{16, 1 << 10, 128 << 10} {
		c := conversation{name: fmt.Sprintf("12 compressed, %d bytes", size), deflate: true, want: "permessage-deflate"}
		var frames [][]byte
		for range 10 {
			frames = append(frames, frame(fin|0x40|opText, deflated(text(size))))
		}
		c.sent = join(frames...)
		all = append(all, c)
	}
	return all
}
