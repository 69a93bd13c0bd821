// SPDX-License-Identifier: Apache-2.0

package fields

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

func TestCompile(t *testing.T) {
	for text, want := range map[string]string{
		``:                         "",
		`{"X-A":"1","b":2,"c":[]}`: "",
		`{"X-A":["1",2.5]}`:        "",
		`{"":"1"}`:                 "invalid field length in header",
		`{"a b":"1"}`:              "invalid field character in header",
		`{"a":{}}`:                 "invalid type as header value",
		`{"a":[true]}`:             "invalid type as header value",
		`{"a":"b\r\nc: d"}`:        "invalid value character in header",
	} {
		_, err := Compile(json.RawMessage(text))
		if got := errorText(err); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	fields, err := CompileResponse(json.RawMessage(`{"content-length":"1","Connection":"close","X":"y"}`))
	if err != nil || len(fields) != 1 || fields[0].Name != "X" {
		t.Errorf("got %v (%v), want X alone", fields, err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestValues(t *testing.T) {
	x := new(gateway.Exchange)
	x.Request.Host = "h"
	x.Request.Query = "a=1%0d%0aX:%202&b=x%20y"
	m := Match{"/u/7", []int{0, 4, 3, 4, -1, -1}}
	for text, want := range map[string]string{
		"": "", "v": "v", "$host": "h", "${host}/$1": "h/7", "$1$2$3$0": "7/u/7", "a\\$1": "a$1", "$arg_a": "1  X: 2", "$1-${1}0": "7-70", "$": "$",
		"$arg_none.": ".",
	} {
		v := parseValue(text)
		if got := v.text(x, m); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	v := parseValue("a$1")
	if got := v.text(x, Match{}); got != "a" {
		t.Errorf("without a match: got %q, want %q", got, "a")
	}
}

func TestHost(t *testing.T) {
	x := new(gateway.Exchange)
	x.Request.Query = "good=a.b:80&bad=a/b"
	fields, err := Compile(json.RawMessage(`{"host":"$arg_good"}`))
	if err != nil {
		t.Fatal(err)
	}
	fields[0].SetRequest(x, Match{})
	if x.Forward.Host != "a.b:80" || x.Request.Header.Len() != 0 {
		t.Errorf("got host %q, fields %v", x.Forward.Host, x.Request.Header)
	}
	if fields, err = Compile(json.RawMessage(`{"Host":["$arg_bad","$arg_none"]}`)); err != nil {
		t.Fatal(err)
	}
	fields[0].AddRequest(x, Match{})
	if x.Forward.Host != "a.b:80" {
		t.Errorf("got host %q, want it left as it was", x.Forward.Host)
	}
}

func TestEscape(t *testing.T) {
	const text = "/a b%20?q#\r\n\\é~!$&'()*+,;=:@-._"
	if got, want := string(AppendPath(nil, text)), "/a%20b%2520%3Fq%23%0D%0A%5C%C3%A9~!$&'()*+,;=:@-._"; got != want {
		t.Errorf("path: got %q, want %q", got, want)
	}
	if got, want := string(AppendURI(nil, text)), "/a%20b%20?q#%0D%0A%5C%C3%A9~!$&'()*+,;=:@-._"; got != want {
		t.Errorf("URI: got %q, want %q", got, want)
	}
	for c := range 256 {
		if got := string(AppendURI(nil, string([]byte{byte(c)}))); strings.ContainsAny(got, " \r\n\x00\x7f") || got[0] >= 0x80 {
			t.Errorf("%#x stays", c)
		}
	}
}
