// SPDX-License-Identifier: Apache-2.0

package reply

import (
	"encoding/json"
	"testing"
)

func TestAppendText(t *testing.T) {
	for text, want := range map[string]string{
		"":                       `""`,
		"a\"b\\c/<é>":            `"a\"b\\c/<é>"`,
		"\b\t\n\f\r\x00\x1f\x7f": `"\b\t\n\f\r\u0000\u001f\u007f"`,
		"\xff":                   "\"\xff\"",
	} {
		if got := string(AppendText(nil, text)); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	all := make([]byte, 128)
	for i := range all {
		all[i] = byte(i)
	}
	var got string
	if err := json.Unmarshal(AppendText(nil, string(all)), &got); err != nil || got != string(all) {
		t.Errorf("got %q, %v", got, err)
	}
}
