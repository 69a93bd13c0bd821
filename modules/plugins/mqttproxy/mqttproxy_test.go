// SPDX-License-Identifier: Apache-2.0

package mqttproxy

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/andogate/ando/modules/gateway"
)

// packet makes a CONNECT packet.
func packet(protocol string, level byte, properties, clientID string) string {
	text := func(s string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s }
	body := text(protocol) + string([]byte{level, 2, 0, 60})
	if level >= 5 {
		body += string([]byte{byte(len(properties))}) + properties
	}
	body += text(clientID)
	length := []byte{byte(len(body))}
	if len(body) > 127 {
		length = []byte{byte(len(body)) | 0x80, byte(len(body) >> 7)}
	}
	return "\x10" + string(length) + body
}

// stream is a wire whose client sends bytes one by one.
type stream struct {
	gateway.Wire
	from io.Reader
	all  []byte
}

func (s *stream) Preread(n int) ([]byte, error) {
	for len(s.all) < n {
		one := make([]byte, 1)
		if _, err := io.ReadFull(s.from, one); err != nil {
			return s.all, err
		}
		s.all = append(s.all, one...)
	}
	return s.all, nil
}

func run(m *mqttProxy, sent string) (*gateway.Exchange, *stream, bool) {
	s := &stream{from: iotest.OneByteReader(strings.NewReader(sent))}
	x := new(gateway.Exchange)
	x.Begin(nil, nil, s)
	return x, s, m.Access(x) == gateway.Continue
}

func TestAccess(t *testing.T) {
	long := strings.Repeat("c", 300)
	for _, c := range []struct {
		what, sent string
		config     mqttProxy
		want       bool
		id         string
	}{
		{"3.1.1", packet("MQTT", 4, "", "me"), mqttProxy{"MQTT", 4}, true, "me"},
		{"3.1", packet("MQIsdp", 3, "", "me"), mqttProxy{"MQIsdp", 3}, true, "me"},
		{"5.0", packet("MQTT", 5, "\x11\x00\x00\x00\x0a", "me"), mqttProxy{"MQTT", 5}, true, "me"},
		{"5.0 without properties", packet("MQTT", 5, "", "me"), mqttProxy{"MQTT", 5}, true, "me"},
		{"a long id", packet("MQTT", 4, "", long), mqttProxy{"MQTT", 4}, true, long},
		{"no id", packet("MQTT", 4, "", ""), mqttProxy{"MQTT", 4}, true, ""},
		{"another level", packet("MQTT", 4, "", "me"), mqttProxy{"MQTT", 5}, false, ""},
		{"another name", packet("MQTT", 4, "", "me"), mqttProxy{"MQIsdp", 4}, false, ""},
		{"another packet", "\x30" + packet("MQTT", 4, "", "me")[1:], mqttProxy{"MQTT", 4}, false, ""},
		{"another protocol", "GET / HTTP/1.1\r\n\r\n", mqttProxy{"MQTT", 4}, false, ""},
		{"half of it", packet("MQTT", 4, "", "me")[:9], mqttProxy{"MQTT", 4}, false, ""},
		{"a short packet", "\x10\x03" + packet("MQTT", 4, "", "me")[2:], mqttProxy{"MQTT", 4}, false, ""},
		{"a length without end", "\x10\xff\xff\xff\xff\xff", mqttProxy{"MQTT", 4}, false, ""},
		{"nothing", "", mqttProxy{"MQTT", 4}, false, ""},
	} {
		x, s, got := run(&c.config, c.sent+"more")
		if id, _ := x.CustomVar(variable); got != c.want || id != c.id {
			t.Errorf("%s: got %v, id %q; want %v, %q", c.what, got, id, c.want, c.id)
		}
		if c.want && len(s.all) > len(c.sent) {
			t.Errorf("%s: %d bytes were waited for, of a packet of %d", c.what, len(s.all), len(c.sent))
		}
	}
}

// What cannot be looked at is not let through.
func TestWithoutPreread(t *testing.T) {
	x := new(gateway.Exchange)
	x.Begin(nil, nil, nil)
	if _, err := x.Preread(1); !errors.Is(err, gateway.ErrNoPreread) || (&mqttProxy{"MQTT", 4}).Access(x) != gateway.Exit {
		t.Errorf("got %v", err)
	}
}

func FuzzReadConnect(f *testing.F) {
	f.Add(packet("MQTT", 4, "", "me"))
	f.Add(packet("MQTT", 5, "\x11\x00\x00\x00\x0a", "me"))
	f.Fuzz(func(t *testing.T, sent string) {
		s := &stream{from: strings.NewReader(sent)}
		c, err := readConnect(s.Preread)
		if err == nil && (!strings.Contains(sent, c.protocol) || !strings.Contains(sent, c.clientID)) {
			t.Errorf("%q: read %+v", sent, c)
		}
	})
}

func BenchmarkAccess(b *testing.B) {
	m, s := &mqttProxy{"MQTT", 4}, &stream{all: []byte(packet("MQTT", 4, "", "sensor-0001"))}
	x := new(gateway.Exchange)
	b.ReportAllocs()
	for b.Loop() {
		x.Reset()
		x.Begin(nil, nil, s)
		if m.Access(x) != gateway.Continue {
			b.Fatal("refused")
		}
	}
}
