// SPDX-License-Identifier: Apache-2.0

package table

import (
	"bytes"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest/certtest"
)

// TestClientCertificateByID: `tls.client_cert_id` names the certificate that nodes see, wherever the upstream is declared,
// and every change of the ssl object reaches it.
func TestClientCertificateByID(t *testing.T) {
	ca := certtest.New(t, "ca")
	first, second := ca.Issue(t, "first"), ca.Issue(t, "second")
	const config = `{"scheme":"https","nodes":{"n:1":1},"tls":{"client_cert_id":"c"}}`
	table := compileAll(t, toyCompiler(""),
		`upstreams u `+config,
		`services s {"upstream":`+config+`}`,
		`routes shared {"uri":"/shared","upstream_id":"u"}`,
		`routes inline {"uri":"/inline","upstream":`+config+`}`,
		`routes served {"uri":"/served","service_id":"s"}`,
		sslObject(t, "c", first, `,"type":"client"`),
	)
	upstreamOf := func(table *Table, path string) *gateway.Upstream {
		route := get(table, "h", path)
		if route.UpstreamID != "" {
			return table.Upstream(route.UpstreamID)
		}
		return route.Upstream
	}
	check := func(table *Table, name string, want *certtest.Pair, reason string) {
		t.Helper()
		for _, path := range []string{"/shared", "/inline", "/served"} {
			u := upstreamOf(table, path)
			switch {
			case want == nil:
				if u.Fault != 503 || u.FaultReason != "tls.client_cert_id c: "+reason {
					t.Errorf("%s, %s: fault %d %q", name, path, u.Fault, u.FaultReason)
				}
			case u.Fault != 0 || u.ClientCertificate == nil:
				t.Errorf("%s, %s: fault %d %q", name, path, u.Fault, u.FaultReason)
			case !bytes.Equal(u.ClientCertificate.Certificate[0], want.TLS(t).Certificate[0]):
				t.Errorf("%s, %s: not the certificate of the object", name, path)
			}
		}
	}
	check(table, "at first", &first, "")
	node := upstreamOf(table, "/shared").Nodes[0]

	changed := mustChange(t, table, sslObject(t, "c", second, `,"type":"client"`))
	check(changed, "after a change", &second, "")
	check(table, "the table before", &first, "")
	if upstreamOf(changed, "/shared").Nodes[0] != node {
		t.Error("the nodes did not stay the same")
	}
	check(mustChange(t, changed, "ssls c"), "deleted", nil, "the ssl object does not exist")
	check(mustChange(t, mustChange(t, changed, "ssls c"), sslObject(t, "c", first, `,"type":"client"`)), "there again", &first, "")
	check(mustChange(t, changed, sslObject(t, "c", first, `,"sni":"a"`)), "of another type", nil,
		"the ssl object is not of the type client")

	// An object that does not present it any more is left alone.
	plain := mustChange(t, changed, `upstreams u {"scheme":"https","nodes":{"n:1":1}}`)
	before := plain.Upstream("u")
	if after := mustChange(t, plain, "ssls c").Upstream("u"); before.ClientCertificate != nil || after != before {
		t.Error("an upstream without the certificate was compiled again")
	}
}
