// SPDX-License-Identifier: Apache-2.0

package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// document is what the compiler reads of a stored object, of whatever kind. Fields are decoded one by one, so that a
// route with one bad field can still be matched and refused.
type document struct {
	URI            json.RawMessage `json:"uri"`
	URIs           json.RawMessage `json:"uris"`
	Host           json.RawMessage `json:"host"`
	Hosts          json.RawMessage `json:"hosts"`
	RemoteAddr     json.RawMessage `json:"remote_addr"`
	RemoteAddrs    json.RawMessage `json:"remote_addrs"`
	Methods        json.RawMessage `json:"methods"`
	Priority       json.RawMessage `json:"priority"`
	Vars           json.RawMessage `json:"vars"`
	Expression     json.RawMessage `json:"expression"`
	FilterFunc     json.RawMessage `json:"filter_func"`
	Script         json.RawMessage `json:"script"`
	ScriptID       json.RawMessage `json:"script_id"`
	Status         json.RawMessage `json:"status"`
	Plugins        json.RawMessage `json:"plugins"`
	PluginConfigID json.RawMessage `json:"plugin_config_id"`
	ServiceID      json.RawMessage `json:"service_id"`
	GroupID        json.RawMessage `json:"group_id"`
	Upstream       json.RawMessage `json:"upstream"`
	UpstreamID     json.RawMessage `json:"upstream_id"`
	Timeout        json.RawMessage `json:"timeout"`
	Websocket      json.RawMessage `json:"enable_websocket"`
	Name           json.RawMessage `json:"name"`
	Labels         json.RawMessage `json:"labels"`
}

// readDocument fails when the value is no JSON object.
func readDocument(value json.RawMessage) (*document, error) {
	d := new(document)
	if err := json.Unmarshal(value, d); err != nil {
		return nil, fmt.Errorf("invalid configuration: %w", err)
	}
	return d, nil
}

// present reports whether a field is there; null stands for absent, as in APISIX.
func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// read decodes a field if it is there.
func read(name string, raw json.RawMessage, into any) error {
	if !present(raw) {
		return nil
	}
	switch into.(type) {
	case *map[string]string, *map[string]json.RawMessage:
		// To APISIX an empty array is an empty object.
		if string(raw) == "[]" {
			return nil
		}
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("invalid configuration: property %q validation failed: %w", name, err)
	}
	return nil
}

// readStrings decodes a string or a list of strings.
func readStrings(name string, raw json.RawMessage) ([]string, error) {
	if present(raw) && raw[0] == '"' {
		var one string
		err := read(name, raw, &one)
		return []string{one}, err
	}
	var many []string
	err := read(name, raw, &many)
	return many, err
}

// readID decodes an id, which may be a number, to its text; "" is none.
func readID(raw json.RawMessage) string {
	if !present(raw) {
		return ""
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

// either returns the list, or else the single value; each may be a string or a list.
func either(one, many json.RawMessage) json.RawMessage {
	if present(many) {
		return many
	}
	return one
}

func (d *document) uris() ([]string, error) { return readStrings("uri", either(d.URI, d.URIs)) }

// hosts returns the host patterns in lower case.
func (d *document) hosts() ([]string, error) {
	hosts, err := readStrings("hosts", either(d.Host, d.Hosts))
	if err != nil {
		return nil, err
	}
	for i, host := range hosts {
		if host == "" {
			return nil, errors.New("invalid configuration: property \"hosts\" validation failed: empty host")
		}
		hosts[i] = strings.ToLower(host)
	}
	return hosts, nil
}

func (d *document) remoteAddrs() (*addrSet, error) {
	raw := either(d.RemoteAddr, d.RemoteAddrs)
	if !present(raw) {
		return nil, nil
	}
	texts, err := readStrings("remote_addrs", raw)
	if err != nil {
		return nil, err
	}
	prefixes := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		if prefixes[i], err = parsePrefix(text); err != nil {
			return nil, fmt.Errorf("invalid ip address: %s", text)
		}
	}
	return newAddrSet(prefixes), nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if strings.IndexByte(text, '/') >= 0 {
		prefix, err := netip.ParsePrefix(text)
		return prefix.Masked(), err
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	addr = addr.Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

func (d *document) timeout() (gateway.Timeout, error) {
	var seconds struct{ Connect, Send, Read float64 }
	err := read("timeout", d.Timeout, &seconds)
	return gateway.Timeout{
		Connect: inSeconds(seconds.Connect), Send: inSeconds(seconds.Send), Read: inSeconds(seconds.Read),
	}, err
}

func inSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// bodyUse says which parts of a request body a route's conditions look at.
type bodyUse uint8

const (
	usesForm bodyUse = 1 << iota
	usesGraphQL
)

// The limits of APISIX: max_post_args_readable_size and graphql.max_size.
const (
	formLimit    = 64 << 20
	graphQLLimit = 1 << 20
)

// limit is up to how many bytes of the body are read.
func (u bodyUse) limit() int64 {
	switch {
	case u&usesForm != 0:
		return formLimit
	case u&usesGraphQL != 0:
		return graphQLLimit
	}
	return 0
}

// bodyUseOf tells from the text of an expression that reads the body which limit it is under.
func bodyUseOf(vars json.RawMessage) bodyUse {
	var use bodyUse
	if bytes.Contains(vars, []byte(`"graphql_`)) {
		use |= usesGraphQL
	}
	if use == 0 || bytes.Contains(vars, []byte(`"post_arg`)) || bytes.Contains(vars, []byte(`"request_body"`)) {
		use |= usesForm
	}
	return use
}
