// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"encoding/json"
	"math/rand/v2"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// twin evaluates an expression the way its definition reads: on the JSON itself, with no step done ahead of time. vars
// holds every variable that is there, all of them text.
type twin struct{ vars map[string]string }

func (w twin) rule(items []any) bool {
	word, isWord := items[0].(string)
	if !isWord {
		return w.all(items)
	}
	switch strings.ToUpper(word) {
	case "AND":
		return w.all(items[1:])
	case "OR":
		return w.some(items[1:])
	case "!AND":
		return !w.all(items[1:])
	case "!OR":
		return !w.some(items[1:])
	}
	switch len(items) {
	case 2:
		return w.compare(word, "==", items[1])
	case 4:
		return !w.compare(word, items[2].(string), items[3])
	}
	return w.compare(word, items[1].(string), items[2])
}

func (w twin) all(rules []any) bool {
	result := true
	for _, rule := range rules {
		result = w.rule(rule.([]any)) && result
	}
	return result
}

func (w twin) some(rules []any) bool {
	result := false
	for _, rule := range rules {
		result = w.rule(rule.([]any)) || result
	}
	return result
}

func (w twin) compare(name, op string, right any) bool {
	left, there := w.vars[name]
	switch op = strings.ToLower(op); {
	case op == "~=":
		return !w.compare(name, "==", right)
	case op == "==" && right == nil:
		return !there
	case !there:
		return false
	case op == "==":
		if number, ok := right.(float64); ok {
			n, ok := twinNumber(left)
			return ok && n == number
		}
		text, ok := right.(string)
		return ok && text == left
	case op == "in":
		list, _ := right.([]any)
		for _, item := range list {
			if item == left {
				return true
			}
		}
		return false
	case op == "has":
		return false
	case op == "~~":
		return regexp.MustCompile(right.(string)).MatchString(left)
	case op == "~*":
		return regexp.MustCompile("(?i)" + right.(string)).MatchString(left)
	case op == "ipmatch":
		return twinIPMatch(left, right)
	}
	a, ok := twinNumber(left)
	if !ok {
		return false
	}
	b, ok := right.(float64)
	if text, isText := right.(string); isText {
		b, ok = twinNumber(text)
	}
	if !ok {
		return false
	}
	return map[string]bool{">": a > b, ">=": a >= b, "<": a < b, "<=": a <= b}[op]
}

var (
	twinDecimal = regexp.MustCompile(`^[ \t\n\v\f\r]*([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)[ \t\n\v\f\r]*$`)
	twinHex     = regexp.MustCompile(`^[ \t\n\v\f\r]*([+-]?0[xX]([0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+))([pP][+-]?\d+)?[ \t\n\v\f\r]*$`)
)

func twinNumber(text string) (float64, bool) {
	if m := twinHex.FindStringSubmatch(text); m != nil {
		exponent := m[3]
		if exponent == "" {
			exponent = "p0"
		}
		n, _ := strconv.ParseFloat(m[1]+exponent, 64)
		return n, true
	}
	if m := twinDecimal.FindStringSubmatch(text); m != nil {
		n, _ := strconv.ParseFloat(m[1], 64)
		return n, true
	}
	return 0, false
}

func twinIPMatch(left string, right any) bool {
	ip := net.ParseIP(left)
	list, isList := right.([]any)
	if !isList {
		list = []any{right}
	}
	for _, item := range list {
		text := item.(string)
		if _, network, err := net.ParseCIDR(text); err == nil && ip != nil && network.Contains(ip) {
			return true
		}
		if one := net.ParseIP(text); ip != nil && one != nil && one.Equal(ip) {
			return true
		}
	}
	return false
}

var (
	twinNames     = []string{"arg_a", "arg_b", "arg_c", "arg_d", "arg_missing", "http_x_a", "cookie_k"}
	twinTexts     = []string{"", "1", "01", "1.0", "0x1", "0x1.8p1", "1e0", " 1 ", "+1", "-1", "1.", ".5", ".", "1e", "0x", "a", "A", "ab", "10.1.2.3", "::1", "1_0", "inf", "10"}
	twinPatterns  = []string{"a", "^A", "b$", "^$", "1", "[0-9]+", "^(a|A)b?$", "x"}
	twinNetworks  = []string{"10.0.0.0/8", "10.1.2.3", "::1", "::/0", "192.0.2.0/24", "0.0.0.0/0", "10.1.2.4"}
	twinOperators = []string{"==", "~=", ">", ">=", "<", "<=", "~~", "~*", "in", "has", "ipmatch", "IN", "IpMatch"}
)

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

func randomRule(rng *rand.Rand, depth int) []any {
	if depth > 0 && rng.IntN(3) == 0 {
		rule := []any{pick(rng, []string{"AND", "OR", "!AND", "!OR", "or", "!and"})}
		if rng.IntN(4) == 0 {
			rule = nil
		}
		for range 2 + rng.IntN(3) {
			rule = append(rule, randomRule(rng, depth-1))
		}
		return rule
	}
	name, op := pick(rng, twinNames), pick(rng, twinOperators)
	right := randomRight(rng, strings.ToLower(op))
	switch rng.IntN(4) {
	case 0:
		return []any{name, "!", op, right}
	case 1:
		if op == "==" {
			return []any{name, right}
		}
	}
	return []any{name, op, right}
}

func randomRight(rng *rand.Rand, op string) any {
	list := func(from []string) []any {
		items := make([]any, 1+rng.IntN(12))
		for i := range items {
			items[i] = pick(rng, from)
		}
		return items
	}
	switch op {
	case "~~", "~*":
		return pick(rng, twinPatterns)
	case "in":
		return append(list(twinTexts), 1.0, nil)
	case "ipmatch":
		if rng.IntN(2) == 0 {
			return pick(rng, twinNetworks)
		}
		return list(twinNetworks)
	}
	return pick(rng, []any{pick(rng, twinTexts), pick(rng, twinTexts), 1.0, 1.5, -1.0, 0.0, nil, true, []any{"1"}})
}

func TestTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	matched := 0
	for range 20_000 {
		vars := make(map[string]string)
		query, header := url.Values{}, ""
		for _, name := range twinNames {
			if name == "arg_missing" || rng.IntN(4) == 0 {
				continue
			}
			text := pick(rng, twinTexts)
			switch family, rest, _ := strings.Cut(name, "_"); family {
			case "arg":
				query.Set(rest, text)
			case "http":
				header += rest + ": " + text + "\n"
			case "cookie":
				header += "Cookie: " + rest + "=" + text + "\n"
			}
			vars[name] = text
		}
		rule := []any{randomRule(rng, 3)}
		if rng.IntN(2) == 0 {
			rule = append(rule, randomRule(rng, 2))
		}
		raw, err := json.Marshal(rule)
		if err != nil {
			t.Fatal(err)
		}
		x := newExchange(t, "GET /?"+query.Encode()+" HTTP/1.1\n"+header)
		want := twin{vars}.rule(rule)
		if got := mustCompile(t, string(raw)).Match(x); got != want {
			t.Fatalf("%s with %q = %v; the twin says %v", raw, vars, got, want)
		}
		if want {
			matched++
		}
	}
	if matched < 2000 || matched > 18_000 {
		t.Errorf("%d of 20000 expressions held: the test has lost its balance", matched)
	}
}
