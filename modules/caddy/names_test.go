// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"encoding/json"
	"strings"
	"testing"
)

// gatewayServer is a config with a server that has the gateway for any host; the verbs are for more of the server, and
// more apps.
func gatewayServer(server, apps string) string {
	return `{"http":{"servers":{"s":{"listen":[":443"],"routes":[{"handle":[{"handler":"ando"}]}]` + server + `}}}` + apps + `}`
}

func TestEditNames(t *testing.T) {
	for name, c := range map[string]struct {
		apps, hosts string
		names       string
	}{
		"any host":               {gatewayServer("", ""), "b.com a.com a.com", "a.com b.com"},
		"no names":               {gatewayServer("", ""), "*.a.com 10.0.0.1 [::1]", ""},
		"no automatic HTTPS":     {gatewayServer(`,"automatic_https":{"disable":true}`, ""), "a.com", ""},
		"no certificates":        {gatewayServer(`,"automatic_https":{"disable_certificates":true}`, ""), "a.com", ""},
		"skipped":                {gatewayServer(`,"automatic_https":{"skip":["a.com"],"skip_certificates":["b.com"]}`, ""), "a.com b.com c.com", "c.com"},
		"plain HTTP":             {`{"http":{"servers":{"s":{"listen":[":80"],"routes":[{"handle":[{"handler":"ando"}]}]}}}}`, "a.com", ""},
		"plain HTTP, moved":      {`{"http":{"http_port":9080,"servers":{"s":{"listen":["ando/:9080"],"routes":[{"handle":[{"handler":"ando"}]}]}}}}`, "a.com", ""},
		"no gateway":             {`{"http":{"servers":{"s":{"listen":[":443"],"routes":[{"handle":[{"handler":"file_server"}]}]}}}}`, "a.com", ""},
		"a site for other hosts": {`{"http":{"servers":{"s":{"listen":[":443"],"routes":[{"match":[{"host":["x.com"]}],"handle":[{"handler":"ando"}]}]}}}}`, "a.com", ""},
		"a site's own host": {
			`{"http":{"servers":{"s":{"listen":[":443"],"routes":[
				{"match":[{"host":["own.com","*.wild.com"]}],"handle":[{"handler":"ando"}]},
				{"handle":[{"handler":"subroute","routes":[{"handle":[{"handler":"ando"}]}]}]}]}}}}`,
			"own.com a.wild.com b.a.wild.com other.com", "b.a.wild.com other.com",
		},
		"a subroute for other hosts": {
			`{"http":{"servers":{"s":{"listen":[":443"],"routes":[{"handle":[{"handler":"subroute","routes":[
				{"match":[{"host":["x.com"]}],"handle":[{"handler":"ando"}]}]}]}]}}}}`, "a.com", "",
		},
		"on demand":       {gatewayServer("", `,"tls":{"automation":{"policies":[{"subjects":["a.com"],"issuers":[]},{"on_demand":true}]}}`), "a.com b.com", "a.com"},
		"somebody else's": {gatewayServer("", `,"tls":{"certificates":{"automate":["a.com"]}}`), "a.com b.com", "b.com"},
		"no apps":         {`null`, "a.com", ""},
	} {
		t.Run(name, func(t *testing.T) {
			edited, names, err := editNames(json.RawMessage(c.apps), strings.Fields(c.hosts))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(names, " "); got != c.names {
				t.Errorf("got %s, want %s", got, c.names)
			}
			again, _, err := editNames(edited, strings.Fields(c.hosts))
			if err != nil || string(again) != string(edited) {
				t.Errorf("edited again: %v\n%s\nbefore\n%s", err, again, edited)
			}
			gone, _, err := editNames(edited, nil)
			if err != nil || !sameJSON(t, gone, json.RawMessage(c.apps)) {
				t.Errorf("without hosts: %v\n%s\nwant\n%s", err, gone, c.apps)
			}
		})
	}
}

func sameJSON(t *testing.T, a, b json.RawMessage) bool {
	t.Helper()
	var values [2]any
	for i, raw := range []json.RawMessage{a, b} {
		if err := json.Unmarshal(raw, &values[i]); err != nil {
			t.Fatal(err)
		}
	}
	first, _ := json.Marshal(values[0])
	second, _ := json.Marshal(values[1])
	return string(first) == string(second)
}

func TestEditNamesInFull(t *testing.T) {
	apps := gatewayServer("", `,"tls":{"certificates":{"automate":["mine.com"],"load_files":[]},"automation":{"policies":[{"subjects":["p.localhost"],"issuers":[{"module":"internal","lifetime":"1h"}]}]}}`)
	edited, _, err := editNames(json.RawMessage(apps), []string{"b.localhost", "p.localhost", "a.com"})
	if err != nil {
		t.Fatal(err)
	}
	want := gatewayServer("", `,"ando":{"automated":["a.com","b.localhost","p.localhost"]},"tls":{"certificates":{"automate":["mine.com","a.com","b.localhost","p.localhost"],"load_files":[]},
		"automation":{"policies":[{"subjects":["p.localhost"],"issuers":[{"module":"internal","lifetime":"1h"}]},
		{"@id":"ando_internal_names","subjects":["b.localhost"],"issuers":[{"module":"internal"}]}]}}`)
	if !sameJSON(t, edited, json.RawMessage(want)) {
		t.Errorf("got\n%s\nwant\n%s", edited, want)
	}
}
