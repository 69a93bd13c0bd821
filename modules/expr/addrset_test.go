// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestAddrSet(t *testing.T) {
	set, err := newAddrSet([]any{"10.1.2.3/8", "192.0.2.1", "[2001:db8::1]", "2001:db8:1::/48", "::ffff:172.16.0.0/108"})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"10.255.0.1": true, "11.0.0.1": false, "192.0.2.1": true, "192.0.2.2": false, "2001:db8::1": true, "2001:db8::2": false,
		"2001:db8:1:ffff::": true, "172.16.5.5": true, "172.32.0.1": false, "::ffff:10.0.0.1": true, "::ffff:11.0.0.1": false,
		"2001:db8::1%eth0": true, "": false, "x": false, "10.0.0": false,
	} {
		if got := set.containsText(text); got != want {
			t.Errorf("contains %q = %v; want %v", text, got, want)
		}
	}
	exported, err := NewAddrSet([]string{"10.1.2.3/8"})
	if err != nil || !exported.Contains(netip.MustParseAddr("::ffff:10.9.9.9")) || exported.Contains(netip.MustParseAddr("11.0.0.1")) {
		t.Errorf("10.1.2.3/8: got %v (%v), want the set of 10.0.0.0/8", exported, err)
	}
	if _, err := NewAddrSet([]string{"10.0.0.1", "10.0.0"}); err == nil || err.Error() != "invalid ip address: 10.0.0" {
		t.Errorf("10.0.0: got error %v, want it refused", err)
	}
	if set.contains(netip.Addr{}) {
		t.Error("contains no address at all")
	}
}

// TestAddrSetChoice names the implementation: a walk up to eight prefixes, a table above, with the same answers.
func TestAddrSetChoice(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, size := range []int{1, 8, 9, 200} {
		list := make([]any, size)
		for i := range list {
			list[i] = fmt.Sprintf("10.%d.%d.0/%d", rng.IntN(4), rng.IntN(8), 16+rng.IntN(16))
			if i%3 == 0 {
				list[i] = fmt.Sprintf("2001:db8:%x::/%d", rng.IntN(16), 33+rng.IntN(20))
			}
		}
		set, err := newAddrSet(list)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := set.table != nil, size > 8; got != want {
			t.Errorf("%d prefixes: table = %v; want %v", size, got, want)
		}
		walk := &AddrSet{prefixes: set.prefixes}
		for range 5000 {
			text := fmt.Sprintf("10.%d.%d.%d", rng.IntN(4), rng.IntN(8), rng.IntN(256))
			if rng.IntN(3) == 0 {
				text = fmt.Sprintf("2001:db8:%x::%x", rng.IntN(16), rng.IntN(16))
			}
			if got, want := set.containsText(text), walk.containsText(text); got != want {
				t.Fatalf("%d prefixes: contains %s = %v; want %v", size, text, got, want)
			}
		}
	}
}
