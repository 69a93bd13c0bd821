// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/secret"
	"github.com/andogate/ando/modules/store/bolt"
	"github.com/andogate/ando/modules/table"
)

func TestSecretsAreStoredEncrypted(t *testing.T) {
	a := newAPI(t)
	e := testKeyring.Encrypt
	const sent = `{"username":"jack","plugins":{"key-auth":{"key":"jacks-key"}},"desc":"jacks-key"}`
	stored := `{"username":"jack","plugins":{"key-auth":{"key":"` + e("jacks-key") + `"}},"desc":"jacks-key","create_time":4000000000,"update_time":4000000000}`
	shown := strings.Replace(stored, e("jacks-key"), "jacks-key", 1)
	a.want("PUT", prefix+"/consumers", sent, 201, `{"key":"/apisix/consumers/jack","value":`+stored+`}`)
	if o, _ := a.gateway.Table().Object(gateway.Consumers, "jack"); string(o.Value) != stored {
		t.Errorf("stored %s", o.Value)
	}
	a.want("GET", prefix+"/consumers/jack", "", 200, `{"key":"/apisix/consumers/jack","value":`+shown+`,"createdIndex":1,"modifiedIndex":1}`)
	a.want("GET", prefix+"/consumers", "", 200, `{"total":1,"list":[{"key":"/apisix/consumers/jack","value":`+shown+`,"createdIndex":1,"modifiedIndex":1}]}`)
	if a.gateway.Table().Credential("key-auth", "jacks-key") == nil {
		t.Error("the key does not open anything")
	}
	a.put("/consumers/jill", `{"username":"jill"}`)
	a.want("PUT", prefix+"/consumers/jill/credentials/c", `{"plugins":{"key-auth":{"key":"jacks-key"}}}`, 400,
		`{"error_msg":"duplicate key of plugin key-auth found with consumer: jack"}`)
	// A reference is for whoever follows it to read.
	a.put("/consumers/jill/credentials/c", `{"plugins":{"key-auth":{"key":"$env://KEY"}}}`)
	if got := a.value("/consumers/jill/credentials/c"); !strings.Contains(got, `"$env://KEY"`) {
		t.Errorf("got %s", got)
	}
}

// A patch of something else neither encrypts twice nor loses a secret, whatever key it was encrypted with.
func TestPatchesKeepSecrets(t *testing.T) {
	certificate, key := testCertificate()
	other, err := secret.New("edd1c9f034335f136f87ad84b625c8f1")
	if err != nil {
		t.Fatal(err)
	}
	old := stored(gateway.SSLs, "old", `{"sni":"b.com","cert":`+string(quote(certificate))+`,"key":"`+other.Encrypt(key)+`"}`)
	a := openAPI(t, []gateway.Object{old}, func(c *Config) {
		c.Keyring, err = secret.New("0123456789abcdef", "edd1c9f034335f136f87ad84b625c8f1")
		c.Checker.(*table.Compiler).Keyring = c.Keyring
	})
	if err != nil {
		t.Fatal(err)
	}
	pair := `"cert":` + string(quote(certificate)) + `,"key":` + string(quote(key))
	a.put("/ssls/1", `{"sni":"a.com",`+pair+`,"certs":[`+string(quote(certificate))+`],"keys":[`+string(quote(key))+`]}`)
	a.put("/upstreams/1", `{"nodes":{"a:1":1},"tls":{"client_cert":`+string(quote(certificate))+`,"client_key":`+string(quote(key))+`}}`)
	a.put("/routes/1", `{"uri":"/","upstream":{"nodes":{"a:1":1},"tls":{"client_cert":`+string(quote(certificate))+`,"client_key":`+string(quote(key))+`}}}`)
	encrypted := a.keyring.Encrypt(key)
	for _, c := range []struct {
		kind     gateway.Kind
		id, body string
		path     []string
		shows    bool
	}{
		{gateway.SSLs, "1", `{"status":0}`, []string{"key"}, false},
		{gateway.SSLs, "old", `{"status":0}`, []string{"key"}, false},
		{gateway.Upstreams, "1", `{"desc":"d"}`, []string{"tls", "client_key"}, true},
		{gateway.Routes, "1", `{"desc":"d"}`, []string{"upstream", "tls", "client_key"}, true},
	} {
		path := prefix + "/" + string(c.kind) + "/" + c.id
		w := a.call("PATCH", path, c.body)
		got, _ := stringOf(lookup(w.Body.Bytes(), append([]string{"value"}, c.path...)...))
		if w.Code != http.StatusOK || got != encrypted {
			t.Errorf("PATCH %s: got %d %s", path, w.Code, w.Body)
		}
		o, _ := a.gateway.Table().Object(c.kind, c.id)
		if got, _ := stringOf(lookup(o.Value, c.path...)); got != encrypted {
			t.Errorf("%s: stored %s", path, o.Value)
		}
		read := lookup(a.call("GET", path, "").Body.Bytes(), append([]string{"value"}, c.path...)...)
		if got, _ := stringOf(read); c.shows && got != encrypted || !c.shows && read != nil {
			t.Errorf("GET %s: got %s", path, read)
		}
	}
	// What was answered can be sent back.
	a.put("/ssls/1", `{"sni":"a.com","cert":`+string(quote(certificate))+`,"key":"`+encrypted+`"}`)
	if w := a.call("PUT", prefix+"/ssls/1", `{"sni":"a.com","cert":`+string(quote(certificate))+`,"key":"`+strings.Repeat("A", 64)+`"}`); w.Code != 400 ||
		!strings.Contains(w.Body.String(), "failed to decrypt previous encrypted key") {
		t.Errorf("a key of nobody: got %d %s", w.Code, w.Body)
	}
}

func TestPatchOfPluginSecret(t *testing.T) {
	a := newAPI(t)
	a.put("/consumer_groups/g", `{"plugins":{}}`)
	for _, object := range []string{"/consumer_groups/g", "/plugin_configs/p"} {
		a.put(object, `{"plugins":{"secretive":{"token":"t1","list":[{"token":"t2"}],"open":"o"}}}`)
		w := a.call("PATCH", prefix+object, `{"plugins":{"secretive":{"open":"x"}}}`)
		e := testKeyring.Encrypt
		want := `{"secretive":{"token":"` + e("t1") + `","list":[{"token":"` + e("t2") + `"}],"open":"x"}}`
		if got := lookup(w.Body.Bytes(), "value", "plugins"); string(got) != want {
			t.Errorf("%s: got %s, want %s", object, w.Body, want)
		}
		a.call("PATCH", prefix+object+"/plugins/secretive/token", `"t3"`)
		if got := a.value(object); !strings.Contains(got, `"token":"t3"`) || !strings.Contains(got, `"token":"t2"`) {
			t.Errorf("%s: got %s", object, got)
		}
	}
}

// What is on disk can be read by whoever finds the disk.
func TestStoreFileHasNoSecret(t *testing.T) {
	const marker = "plain-secret-0123456789"
	path := filepath.Join(t.TempDir(), "ando.db")
	store, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	_, private := testCertificate()
	certificate, _ := testCertificate()
	a := openStore(t, store)
	a.put("/consumers/jack", `{"username":"jack","plugins":{"key-auth":{"key":"`+marker+`"}}}`)
	a.put("/consumers/jack/credentials/c", `{"plugins":{"key-auth":{"key":"`+marker+`-2"}}}`)
	a.put("/ssls/1", `{"sni":"a.com","cert":`+string(quote(certificate))+`,"key":`+string(quote(private))+`}`)
	a.put("/plugin_configs/p", `{"plugins":{"secretive":{"token":"`+marker+`-3"}}}`)
	a.put("/plugin_metadata/secretive", `{"token":"`+marker+`-4"}`)
	if got := a.value("/plugin_metadata/secretive"); !strings.Contains(got, marker+"-4") {
		t.Errorf("metadata: got %s", got)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(raw, []byte("jack")) {
		t.Fatal("the file does not have the objects at all")
	}
	for _, text := range []string{marker, "PRIVATE KEY", strings.Split(private, "\n")[1]} {
		if bytes.Contains(raw, []byte(text)) {
			t.Errorf("the file has %q", text)
		}
	}
}
