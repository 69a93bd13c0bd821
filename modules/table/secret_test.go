// SPDX-License-Identifier: Apache-2.0

package table

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/secret"
)

// guarded is an auth plugin whose fields are stored encrypted, in all of its schemas.
func guarded(seen *[]string) *gateway.Plugin {
	note := func(raw json.RawMessage) { *seen = append(*seen, string(raw)) }
	schema := json.RawMessage(`{"type":"object","properties":{"key":{"type":"string","maxLength":8}},"encrypt_fields":["key"]}`)
	return &gateway.Plugin{
		Name: "guarded", Auth: true, UniqueField: "key",
		Schema: schema, ConsumerSchema: schema, MetadataSchema: schema,
		New: func(_ gateway.Env, raw json.RawMessage) (any, error) { note(raw); return struct{}{}, nil },
		NewCredential: func(_ gateway.Env, raw json.RawMessage) (string, any, error) {
			var c struct{ Key string }
			err := json.Unmarshal(raw, &c)
			return c.Key, c.Key, err
		},
		NewMetadata: func(_ gateway.Env, raw json.RawMessage) (any, error) { note(raw); return struct{}{}, nil },
	}
}

func TestStoredFieldsAreDecrypted(t *testing.T) {
	var seen []string
	keyring := secret.Generate()
	c := &Compiler{Plugins: gateway.Plugins{"guarded": guarded(&seen)}, Keyring: keyring}
	stored := func(plain string) string { return `{"key":"` + keyring.Encrypt(plain) + `"}` }
	object := func(kind gateway.Kind, id, value string) gateway.Object {
		return gateway.Object{Kind: kind, ID: id, Value: json.RawMessage(value)}
	}
	table, faults := c.Compile(1, []gateway.Object{
		object(gateway.Consumers, "jack", `{"username":"jack","plugins":{"guarded":`+stored("k1")+`}}`),
		object(gateway.Routes, "1", `{"uri":"/","plugins":{"guarded":`+stored("k2")+`}}`),
		object(gateway.PluginMetadata, "guarded", stored("k3")),
	})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if found := table.Credential("guarded", "k1"); found == nil || found.Config != "k1" {
		t.Errorf("credential: got %+v", found)
	}
	if got, want := strings.Join(seen, " "), `{"key":"k3"} {"key":"k2"}`; got != want {
		t.Errorf("got configs %s, want %s", got, want)
	}
	// What was stored before there was a keyring, or declared in a config, is as good.
	_, err := table.With([]gateway.Change{{Object: object(gateway.Consumers, "jill", `{"username":"jill","plugins":{"guarded":{"key":"k1"}}}`)}})
	if err == nil || !strings.Contains(err.Error(), "duplicate key of plugin guarded found with consumer: jack") {
		t.Errorf("the same key twice: got %v", err)
	}
	without := &Compiler{Plugins: c.Plugins}
	if err := without.Check(object(gateway.Routes, "1", `{"plugins":{"guarded":`+stored("k1")+`}}`)); err == nil {
		t.Error("without the keyring a field is what it is stored as")
	}
}
