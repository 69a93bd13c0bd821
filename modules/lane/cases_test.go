// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

// Case is one line of testdata/requests.jsonl or responses.jsonl: what a client or a node sends, what the RFC asks for,
// and what Ando does.
type Case struct {
	ID, Category, Raw, Why, Ando, Delivery string
	AllowedStatus                          []int  `json:"allowed_status"`
	ConnectionAfter                        string `json:"connection_after"`
	MaxUpstreamRequests                    *int   `json:"max_upstream_requests"`
	SmuggledMayReach                       bool   `json:"smuggled_path_may_reach_upstream"`
	RoutePath                              string `json:"route_path_expected"`

	RequestMethod       string `json:"request_method"`
	AllowedClientStatus []int  `json:"allowed_client_status"`
	Reusable            bool   `json:"upstream_connection_reusable"`
	ClosesAfter         bool   `json:"upstream_closes_after"`
}

// Cases reads a file of cases. The code points of `raw` are its bytes.
func Cases(t testing.TB, file string) (cases []Case) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var c Case
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		raw := make([]byte, 0, len(c.Raw))
		for _, r := range c.Raw {
			raw = append(raw, byte(r))
		}
		c.Raw = string(raw)
		cases = append(cases, c)
	}
	return cases
}

// Verdict returns the status that a lane refuses the first request in raw with, 200 when it is complete, and 0 when
// something is missing.
func Verdict(raw []byte) int {
	status, _, _ := verdict(raw, len(raw)+1)
	return status
}
