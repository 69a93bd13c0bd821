// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest/certtest"
)

func TestCertificates(t *testing.T) {
	ca := certtest.New(t, "the ca")
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	pair, other := ca.IssueUntil(t, end, "a.test"), ca.Issue(t, "b.test")
	value := func(cert, key, more string) string {
		raw, err := json.Marshal(map[string]string{"cert": cert, "key": key})
		if err != nil {
			t.Fatal(err)
		}
		return string(raw[:len(raw)-1]) + more + "}"
	}
	declared := object(gateway.SSLs, "2", value(other.Cert, other.Key, `,"sni":"b.test","status":0`))
	declared.Origin = gateway.OriginCaddyfile
	h := newHandler(t,
		object(gateway.SSLs, "1", value(pair.Cert, pair.Key, `,"snis":["a.test","*.A.test"],"client":{"ca":"`+"x"+`"}`)),
		declared,
		object(gateway.SSLs, "3", value(pair.Cert, other.Key, `,"sni":"c.test"`)),
		object(gateway.SSLs, "4", value(pair.Cert, pair.Key, `,"type":"client"`)),
	)
	res := call(t, h, "GET", "/v1/certificates")
	if res.Code != 200 {
		t.Fatalf("got %d %s", res.Code, res.Body)
	}
	var got []sslState
	if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 {
		t.Fatalf("got %s", res.Body)
	}
	first := got[0]
	if first.ID != "1" || first.Source != "store" || fmt.Sprint(first.SNIs) != "[a.test *.a.test]" || first.Status != 1 ||
		!first.AsksClients || first.Error == "" || len(first.Certificates) != 1 {
		t.Errorf("got %+v", first)
	}
	if c := first.Certificates[0]; !c.NotAfter.Equal(end) || c.Issuer != "CN=the ca" || c.Algorithm != "ECDSA" || c.ExpiresIn > 3600 || c.ExpiresIn < 3000 {
		t.Errorf("got %+v", c)
	}
	if second := got[1]; second.Source != "caddyfile" || second.Status != 0 || second.AsksClients || second.Error != "" {
		t.Errorf("got %+v", second)
	}
	if third := got[2]; third.Error == "" || len(third.Certificates) != 0 {
		t.Errorf("got %+v", third)
	}
}
