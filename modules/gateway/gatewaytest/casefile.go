// SPDX-License-Identifier: Apache-2.0

package gatewaytest

import (
	"encoding/json"
	"fmt"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// caseFile is one parsed case.
type caseFile struct {
	objects   []gateway.Object
	exchanges []exchange
}

// exchange is one request and what is expected of it.
type exchange struct {
	line    int
	node    nodeReply
	request message
	reply   message
	// decoded says that the body of the reply is given as it is without its content coding.
	decoded bool
	// saw is nil when anything will do.
	saw *message
}

// message is a head and a body as a case gives them.
type message struct {
	// start is the first line; field lines follow.
	start  string
	fields []string
	body   string
	// hasBody tells an empty body from none given.
	hasBody bool
}

// nodeReply is what nodes answer.
type nodeReply struct {
	message
	gzip, chunked, close, drop bool
}

var defaultReply = nodeReply{message: message{start: "HTTP/1.1 200 OK", body: "node", hasBody: true}}

// kinds are the sections that hold objects.
var kinds = map[string]gateway.Kind{
	"route": gateway.Routes, "service": gateway.Services, "upstream": gateway.Upstreams,
	"consumer": gateway.Consumers, "credential": gateway.Credentials, "consumer_group": gateway.ConsumerGroups,
	"plugin_config": gateway.PluginConfigs, "global_rule": gateway.GlobalRules,
	"plugin_metadata": gateway.PluginMetadata,
}

func parseCase(text string) (*caseFile, error) {
	c := new(caseFile)
	node := defaultReply
	lines := strings.SplitAfter(text, "\n")
	for i := 0; i < len(lines); {
		title, ok := sectionTitle(lines[i])
		if !ok {
			if strings.TrimSpace(lines[i]) != "" {
				return nil, fmt.Errorf("line %d: text before the first section", i+1)
			}
			i++
			continue
		}
		end := i + 1
		for end < len(lines) {
			if _, next := sectionTitle(lines[end]); next {
				break
			}
			end++
		}
		if err := c.section(title, strings.Join(lines[i+1:end], ""), i+1, &node); err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", i+1, title, err)
		}
		i = end
	}
	if len(c.exchanges) == 0 {
		return nil, fmt.Errorf("no request")
	}
	return c, nil
}

func sectionTitle(line string) (string, bool) {
	line = strings.TrimRight(line, "\r\n")
	if title, ok := strings.CutPrefix(line, "-- "); ok {
		return strings.CutSuffix(title, " --")
	}
	return "", false
}

func (c *caseFile) section(title, text string, line int, node *nodeReply) error {
	name, rest, _ := strings.Cut(title, " ")
	switch {
	case name == "note":
		return nil
	case title == "node saw":
		m := parseMessage(text)
		last, err := c.last()
		if err != nil {
			return err
		}
		last.saw = &m
		return nil
	case name == "node":
		*node = nodeReply{message: parseMessage(text)}
		return node.transform(rest)
	case title == "request":
		c.exchanges = append(c.exchanges, exchange{line: line, node: *node, request: parseMessage(text)})
		return nil
	case title == "reply", title == "reply decoded":
		last, err := c.last()
		if err != nil {
			return err
		}
		last.reply, last.decoded = parseMessage(text), title != "reply"
		return nil
	}
	kind, ok := kinds[name]
	if !ok {
		return fmt.Errorf("unknown section")
	}
	o, err := parseObject(kind, rest, text)
	c.objects = append(c.objects, o)
	return err
}

func (c *caseFile) last() (*exchange, error) {
	if len(c.exchanges) == 0 {
		return nil, fmt.Errorf("no request before it")
	}
	return &c.exchanges[len(c.exchanges)-1], nil
}

func (n *nodeReply) transform(words string) error {
	for word := range strings.FieldsSeq(words) {
		switch word {
		case "gzip":
			n.gzip = true
		case "chunked":
			n.chunked = true
		case "close":
			n.close = true
		case "drop":
			n.drop = true
		default:
			return fmt.Errorf("unknown word %q", word)
		}
	}
	return nil
}

func parseObject(kind gateway.Kind, id, text string) (gateway.Object, error) {
	if id == "" {
		id = "1"
	}
	var value map[string]any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return gateway.Object{}, err
	}
	short := id
	switch kind {
	case gateway.Consumers:
		value["username"] = id
	case gateway.Credentials:
		consumer, credential, _ := strings.Cut(id, "/")
		id, short = gateway.CredentialID(consumer, credential), credential
	}
	if kind != gateway.Consumers {
		value["id"] = short
	}
	raw, err := json.Marshal(value)
	return gateway.Object{Kind: kind, ID: id, Value: raw}, err
}

func parseMessage(text string) message {
	head, body, hasBody := strings.Cut(text, "\n\n")
	if !hasBody {
		head = strings.TrimRight(head, "\n")
	}
	lines := strings.Split(head, "\n")
	return message{start: lines[0], fields: lines[1:], body: strings.TrimSuffix(body, "\n"), hasBody: hasBody}
}

// bytes returns the message as it goes over the wire, with a Content-Length where it has a body and no framing.
func (m *message) bytes() []byte {
	b := []byte(m.start + "\r\n")
	framed := false
	for _, field := range m.fields {
		b = append(b, field+"\r\n"...)
		name, _, _ := strings.Cut(strings.ToLower(field), ":")
		framed = framed || name == "content-length" || name == "transfer-encoding"
	}
	if m.body != "" && !framed {
		b = append(b, "Content-Length: "+strconv.Itoa(len(m.body))+"\r\n"...)
	}
	return append(append(b, "\r\n"...), m.body...)
}

// received is a message as it came.
type received struct {
	start  string
	fields textproto.MIMEHeader
	body   []byte
}

// check compares what came with the message: its first line, the fields it names, and the body if it gives one.
func (m *message) check(t *testing.T, line int, what string, got received) {
	t.Helper()
	if want := firstLine(m.start); firstLine(got.start) != want {
		t.Errorf("line %d: %s: got %q, want %q; body %q", line, what, got.start, m.start, got.body)
	}
	wanted := make(map[string][]string)
	for _, field := range m.fields {
		if name, absent := strings.CutPrefix(field, "!"); absent {
			if values := got.fields.Values(name); len(values) > 0 {
				t.Errorf("line %d: %s: got %s: %q, want none", line, what, name, values)
			}
			continue
		}
		name, value, _ := strings.Cut(field, ":")
		name = textproto.CanonicalMIMEHeaderKey(name)
		wanted[name] = append(wanted[name], strings.TrimSpace(value))
	}
	for name, want := range wanted {
		if values := got.fields.Values(name); !slices.Equal(values, want) {
			t.Errorf("line %d: %s: got %s: %q, want %q", line, what, name, values, want)
		}
	}
	if body := strings.TrimSuffix(string(got.body), "\n"); m.hasBody && body != m.body {
		t.Errorf("line %d: %s: got body %q, want %q", line, what, body, m.body)
	}
}

// firstLine is what is compared of a first line: of a status line the status, of a request line all but the version.
func firstLine(line string) string {
	words := strings.SplitN(line, " ", 3)
	if len(words) < 2 {
		return line
	}
	if strings.HasPrefix(words[0], "HTTP/") {
		return words[1]
	}
	return words[0] + " " + words[1]
}
