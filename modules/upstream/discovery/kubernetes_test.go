// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func endpointsOf(name, ports string, addrs ...string) string {
	var all []string
	for _, addr := range addrs {
		all = append(all, fmt.Sprintf(`{"ip":%q,"targetRef":{"kind":"Pod","uid":"u"}}`, addr))
	}
	return fmt.Sprintf(`{"metadata":{"name":%q},"subsets":[{"addresses":[%s],"notReadyAddresses":[{"ip":"10.9.9.9"}],"ports":[%s]}]}`,
		name, strings.Join(all, ","), ports)
}

func sliceOf(name, service, ready string, addrs ...string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"labels":{"kubernetes.io/service-name":%q}},"addressType":"IPv4","ports":[{"name":"http","port":8080}],
		"endpoints":[{"addresses":["%s"],"conditions":%s},{"addresses":["10.9.9.9"],"conditions":{"ready":false,"serving":true,"terminating":true}}]}`,
		name, service, strings.Join(addrs, `","`), ready)
}

const httpPort = `{"name":"http","port":8080,"protocol":"TCP"},{"name":"metrics","port":9090}`

func TestKubernetes(t *testing.T) {
	k := newFakeKube(t)
	for i := range 3 * pageSize {
		k.put("endpoints", "other", endpointsOf(fmt.Sprintf("s%04d", i), httpPort, fmt.Sprintf("10.1.%d.%d", i/250, i%250)))
	}
	k.put("endpoints", "default", endpointsOf("web", httpPort, "10.0.0.1", "10.0.0.2"))
	k.put("endpoints", "default", endpointsOf("plain", `{"port":80}`, "10.0.0.3"))
	web, last := Query{Type: "kubernetes", Name: "default/web:http"}, Query{Type: "kubernetes", Name: "other/s1499:metrics"}
	plain, none := Query{Type: "kubernetes", Name: "default/plain:80"}, Query{Type: "kubernetes", Name: "default/none:http"}
	odd := Query{Type: "kubernetes", Name: "web:http"}
	p := pooled(t, fmt.Sprintf(`{"kubernetes":{%s,"watch_retry_interval_seconds":0.001}}`, k.settings()), web, last, plain, none, odd)
	nodes := untilHosts(t, p, web, "10.0.0.1", "10.0.0.2")
	if want := (Node{Host: "10.0.0.1", Port: 8080, Weight: 50}); nodes[0] != want {
		t.Errorf("got %+v, want %+v", nodes[0], want)
	}
	if nodes := untilHosts(t, p, last, "10.1.5.249"); nodes[0].Port != 9090 {
		t.Errorf("got %+v", nodes)
	}
	untilHosts(t, p, plain, "10.0.0.3")
	untilHosts(t, p, none)
	until(t, p, odd, func(_ []Node, err error) bool {
		return err != nil && strings.Contains(err.Error(), `service_name "web:http" is not NAMESPACE/NAME:PORT`)
	})
	wait(t, k.watched)
	if k.watches() != 1 {
		t.Errorf("%d watches of one cluster", k.watches())
	}

	// The server tells of changes, and a watch that it ends is taken up where it ended.
	k.put("endpoints", "default", endpointsOf("web", httpPort, "10.0.0.2"))
	untilHosts(t, p, web, "10.0.0.2")
	k.bookmark()
	k.end(cleanly)
	k.put("endpoints", "default", endpointsOf("none", httpPort, "10.0.0.4"))
	untilHosts(t, p, none, "10.0.0.4")
	k.remove("endpoints", "default/none")
	untilHosts(t, p, none)
	if lists := k.lists(); lists != 4 {
		t.Errorf("%d pages were asked for, want the four of the first list", lists)
	}

	// What a watch has missed for good is listed.
	k.end(withError)
	k.put("endpoints", "default", endpointsOf("web", httpPort, "10.0.0.5"))
	k.compact()
	untilHosts(t, p, web, "10.0.0.5")

	// While the server is away what is known stays, and then all is asked for anew.
	k.setDown(true)
	k.end(broken)
	wait(t, k.refused)
	wait(t, k.refused)
	untilHosts(t, p, web, "10.0.0.5")
	k.remove("endpoints", "default/plain")
	k.setDown(false)
	untilHosts(t, p, plain)
	untilHosts(t, p, web, "10.0.0.5")
}

// A watch ends when nobody is left whom it concerns, and begins again with the next.
func TestKubernetesUnused(t *testing.T) {
	k := newFakeKube(t)
	k.put("endpoints", "default", endpointsOf("web", httpPort, "10.0.0.1"))
	q := Query{Type: "kubernetes", Name: "default/web:http"}
	p := pooled(t, fmt.Sprintf(`{"kubernetes":{%s}}`, k.settings()), q)
	untilHosts(t, p, q, "10.0.0.1")
	wait(t, k.watched)
	p.Retain(nil)
	wait(t, k.left)
	k.put("endpoints", "default", endpointsOf("web", httpPort, "10.0.0.2"))
	p.Retain(map[Query]bool{q: true})
	untilHosts(t, p, q, "10.0.0.2")
}

func TestKubernetesSlices(t *testing.T) {
	k := newFakeKube(t)
	k.gone = goneStatus
	k.put("endpointslices", "default", sliceOf("web-1", "web", `{"ready":true}`, "10.0.0.1"))
	k.put("endpointslices", "default", sliceOf("web-2", "web", `{}`, "10.0.0.2", "10.0.0.3"))
	k.put("endpointslices", "default", sliceOf("odd", "", `{"ready":true}`, "10.0.0.9"))
	q := Query{Type: "kubernetes", Name: "default/web:http"}
	p := pooled(t, fmt.Sprintf(`{"kubernetes":{%s,"watch_endpoint_slices":true,"default_weight":0}}`, k.settings()), q)
	if nodes := untilHosts(t, p, q, "10.0.0.1", "10.0.0.2", "10.0.0.3"); nodes[0] != (Node{Host: "10.0.0.1", Port: 8080}) {
		t.Errorf("got %+v", nodes)
	}
	wait(t, k.watched)
	k.remove("endpointslices", "default/web-2")
	untilHosts(t, p, q, "10.0.0.1")
	k.put("endpointslices", "default", sliceOf("web-3", "web", `{"ready":true}`, "10.0.0.4"))
	untilHosts(t, p, q, "10.0.0.1", "10.0.0.4")
	k.end(cleanly)
	k.put("endpointslices", "default", sliceOf("web-1", "web", `{"ready":false}`, "10.0.0.1"))
	k.compact()
	untilHosts(t, p, q, "10.0.0.4")
}

func TestKubernetesSelectors(t *testing.T) {
	k := newFakeKube(t)
	k.put("endpoints", "default", endpointsOf("web", httpPort, "10.0.0.1"))
	k.put("endpoints", "my-a", endpointsOf("web", httpPort, "10.0.0.2"))
	labelled := strings.Replace(endpointsOf("web", httpPort, "10.0.0.3"), `"metadata":{`, `"metadata":{"labels":{"first":"a"},`, 1)
	k.put("endpoints", "team", labelled)
	for selector, want := range map[string]string{
		`"namespace_selector":{}`:                                                      "10.0.0.1 10.0.0.2 10.0.0.3",
		`"namespace_selector":{"equal":"my-a"}`:                                        " 10.0.0.2 ",
		`"namespace_selector":{"not_equal":"my-a"}`:                                    "10.0.0.1  10.0.0.3",
		`"namespace_selector":{"match":["default","^my-[a-z]+$"]}`:                     "10.0.0.1 10.0.0.2 ",
		`"namespace_selector":{"match":["my-"]}`:                                       "  ",
		`"namespace_selector":{"not_match":["^my-[a-z]+$"]}`:                           "10.0.0.1  10.0.0.3",
		`"label_selector":"first=a"`:                                                   "  10.0.0.3",
		`"label_selector":"first=a","namespace_selector":{"not_equal":"my-a"}`:         "  10.0.0.3",
		`"label_selector":"first=a","namespace_selector":{"equal":"default"}`:          "  ",
		`"label_selector":"first=a","namespace_selector":{"not_match":"default|team"}`: "  ",
	} {
		t.Run(selector, func(t *testing.T) {
			queries := make([]Query, 3)
			for i, namespace := range []string{"default", "my-a", "team"} {
				queries[i] = Query{Type: "kubernetes", Name: namespace + "/web:http"}
			}
			p := pooled(t, fmt.Sprintf(`{"kubernetes":{%s,%s}}`, k.settings(), selector), queries...)
			var got []string
			for _, q := range queries {
				nodes := until(t, p, q, func(_ []Node, err error) bool { return err == nil })
				host := ""
				if len(nodes) > 0 {
					host = nodes[0].Host
				}
				got = append(got, host)
			}
			if got := strings.Join(got, " "); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// Several clusters are told apart by their ids; a pod has its own from the environment, and its token from a file that is
// read again.
func TestKubernetesClusters(t *testing.T) {
	one, two := newFakeKube(t), newFakeKube(t)
	one.put("endpoints", "default", endpointsOf("web", httpPort, "10.0.0.1"))
	two.put("endpoints", "default", endpointsOf("web", httpPort, "10.0.0.2"))
	a, b := Query{Type: "kubernetes", Name: "a/default/web:http"}, Query{Type: "kubernetes", Name: "b/default/web:http"}
	other, short := Query{Type: "kubernetes", Name: "c/default/web:http"}, Query{Type: "kubernetes", Name: "default/web:http"}
	p := pooled(t, fmt.Sprintf(`{"kubernetes":[{"id":"a",%s},{"id":"b",%s}]}`, one.settings(), two.settings()), a, b, other, short)
	untilHosts(t, p, a, "10.0.0.1")
	untilHosts(t, p, b, "10.0.0.2")
	for q, want := range map[Query]string{other: `there is no cluster "c"`, short: "is not ID/NAMESPACE/NAME:PORT"} {
		until(t, p, q, func(_ []Node, err error) bool { return err != nil && strings.Contains(err.Error(), want) })
	}

	dir := t.TempDir()
	token, ca := filepath.Join(dir, "token"), filepath.Join(dir, "ca.crt")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one.Certificate().Raw})
	for path, text := range map[string]string{token: "old\n", ca: string(certificate)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host, port, err := net.SplitHostPort(one.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", host)
	t.Setenv("KUBERNETES_SERVICE_PORT", port)
	t.Setenv("TOKEN_FILE", token)
	p = pooled(t, fmt.Sprintf(`{"kubernetes":{"client":{"token_file":"${TOKEN_FILE}","ca_file":%q},"watch_retry_interval_seconds":0.001}}`, ca), short)
	until(t, p, short, func(_ []Node, err error) bool { return err != nil && strings.Contains(err.Error(), "answers 401") })
	if err := os.WriteFile(token, []byte(kubeToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	untilHosts(t, p, short, "10.0.0.1")
}

// A server that nobody vouches for does not get the token, where no setting says that it may be anybody.
func TestKubernetesVerifies(t *testing.T) {
	k := newFakeKube(t)
	k.put("endpoints", "default", endpointsOf("web", httpPort, "10.0.0.1"))
	q := Query{Type: "kubernetes", Name: "default/web:http"}
	settings := strings.Replace(k.settings(), `,"ssl_verify":false`, "", 1)
	p := pooled(t, fmt.Sprintf(`{"kubernetes":{%s}}`, settings), q)
	until(t, p, q, func(_ []Node, err error) bool { return err != nil && strings.Contains(err.Error(), "x509") })
}

func TestKubernetesSettings(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                        "",
		`true`:                      "",
		`{"service":{"port":6443}}`: "",
		`{"client":{"cert_file":"c","key_file":"k"}}`:                           "",
		`[{"id":"a","service":{"host":"h","port":"1"},"client":{"token":"t"}}]`: "",
		`[]`: "at least one cluster",
		`[{"id":"A","service":{"host":"h","port":"1"},"client":{"token":"t"}}]`: `id "A"`,
		`[{"id":"a","service":{"host":"h"},"client":{"token":"t"}}]`:            "service.port",
		`[{"id":"a","service":{"host":"h","port":"1"}}]`:                        "client.token",
		`{"client":{"token":"t","token_file":"f"}}`:                             "exclude",
		`{"client":{"cert_file":"c"}}`:                                          "go together",
		`{"service":{"schema":"ftp"}}`:                                          "schema",
		`{"namespace_selector":{"equal":"a","match":["b"]}}`:                    "namespace_selector",
		`{"namespace_selector":{"match":["("]}}`:                                "namespace_selector",
		`{"default_weight":-1}`:                                                 "default_weight",
		`{"watch_timeout_seconds":0}`:                                           "watch_timeout_seconds",
		`{"servers":[]}`:                                                        "unknown field",
	} {
		_, err := Parse([]byte(`{"kubernetes":` + text + `}`))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
