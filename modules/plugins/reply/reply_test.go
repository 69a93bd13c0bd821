// SPDX-License-Identifier: Apache-2.0

package reply

import "testing"

func TestJSON(t *testing.T) {
	if got, want := string(JSON("message", `"a" <b> & é`)), `{"message":"\"a\" <b> & é"}`+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCheckStatus(t *testing.T) {
	for status, want := range map[int]bool{199: false, 200: true, 599: true, 999: true, 1000: false} {
		if got := CheckStatus("code", status) == nil; got != want {
			t.Errorf("%d: allowed: %v, want %v", status, got, want)
		}
	}
}
