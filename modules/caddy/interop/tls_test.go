// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/interop"
)

// TestTLSToNginx: nginx asks for a certificate and tells what name it was called by, whose certificate it saw and whether
// the session went on.
func TestTLSToNginx(t *testing.T) {
	path := program(t, "nginx", "nginx")
	own, first, second := newIdentity(t, "node.test"), newIdentity(t, "first"), newIdentity(t, "second")
	dir := folder(t, map[string]string{
		"cert.pem": own.certificate, "key.pem": own.key, "clients.pem": first.certificate + second.certificate,
	})
	address := freeAddress(t)
	write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr warn; worker_processes 1; events {}
		http {
			access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s;
			uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
			server {
				listen %[2]s ssl; ssl_certificate %[1]s/cert.pem; ssl_certificate_key %[1]s/key.pem;
				ssl_verify_client optional; ssl_client_certificate %[1]s/clients.pem;
				location / { return 200 "$ssl_server_name $host $ssl_client_verify $ssl_client_s_dn $server_protocol"; }
			}
		}`, dir, address))
	run(t, address, path, "-c", filepath.Join(dir, "nginx.conf"), "-p", dir, "-e", "stderr")

	upstream := func(more fields) fields {
		u := to("https", address)
		for name, value := range more {
			u[name] = value
		}
		return u
	}
	ssl := func(i *identity) object {
		return object{"ssls", "client", fields{"type": "client", "cert": i.certificate, "key": i.key}}
	}
	pair := fields{"client_cert": first.certificate, "client_key": first.key}
	for _, lane := range []string{"auto", "off"} {
		t.Run(lane, func(t *testing.T) {
			a := start(t, lane, route(upstream(nil)))
			for _, c := range []struct {
				name     string
				upstream fields
				ssl      *identity
				want     string
				// trusts says that the node's certificate is among the trusted.
				trusts bool
			}{
				{"pass", nil, nil, "site.test site.test NONE  HTTP/1.1", false},
				{"rewrite", fields{"pass_host": "rewrite", "upstream_host": "other.test"}, nil, "other.test other.test NONE  HTTP/1.1", false},
				{"node", fields{"pass_host": "node"}, nil, " 127.0.0.1 NONE  HTTP/1.1", false},
				{"a pair", fields{"tls": pair}, nil, "site.test site.test SUCCESS CN=first HTTP/1.1", false},
				{"a pair by id", fields{"tls": fields{"client_cert_id": "client"}}, first, "site.test site.test SUCCESS CN=first HTTP/1.1", false},
				{"another under the same id", fields{"tls": fields{"client_cert_id": "client"}}, second, "site.test site.test SUCCESS CN=second HTTP/1.1", false},
				{"none again", nil, nil, "site.test site.test NONE  HTTP/1.1", false},
				{"verified, but nobody knows it", fields{"tls": fields{"verify": true}}, nil, "502", false},
				{"verified", fields{"tls": fields{"verify": true}, "pass_host": "rewrite", "upstream_host": "node.test"}, nil, "node.test node.test NONE  HTTP/1.1", true},
				{"verified under another name", fields{"tls": fields{"verify": true}}, nil, "502", true},
				{"an id that is not there", fields{"tls": fields{"client_cert_id": "client"}}, nil, "503", false},
			} {
				objects := []object{route(upstream(c.upstream))}
				if c.ssl != nil {
					objects = append(objects, ssl(c.ssl))
				}
				if a.trusted = ""; c.trusts {
					a.trusted = filepath.Join(dir, "cert.pem")
				}
				a.load(t, objects...)
				for range 2 {
					if got := a.get(t, "/"); got != c.want {
						t.Errorf("%s: got %q, want %q", c.name, got, c.want)
					}
				}
			}
		})
	}
}

// get returns the body of a 200, or the status of another response.
func (a *ando) get(t *testing.T, target string) string {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+a.plain+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Host = "site.test"
	response, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != 200 {
		return fmt.Sprint(response.StatusCode)
	}
	return string(body)
}

// TestGRPCThroughServers puts nginx and HAProxy between Ando and grpc-go's server: other implementations of HTTP/2 to
// speak to, with and without TLS.
func TestGRPCThroughServers(t *testing.T) {
	node := serveGRPC(t, interop.NewTestServer(), nil)
	own := newIdentity(t, "localhost")
	for _, c := range []struct {
		name  string
		start func(t *testing.T, plain, secure string)
	}{
		{"nginx", func(t *testing.T, plain, secure string) {
			path := program(t, "nginx", "nginx")
			dir := folder(t, map[string]string{"cert.pem": own.certificate, "key.pem": own.key})
			write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr crit; worker_processes 1; events {}
				http {
					access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s;
					uwsgi_temp_path %[1]s; scgi_temp_path %[1]s; client_max_body_size 0; keepalive_requests 100000;
					server {
						listen %[2]s http2; listen %[3]s ssl http2; ssl_certificate %[1]s/cert.pem; ssl_certificate_key %[1]s/key.pem;
						location / { grpc_pass grpc://%[4]s; }
					}
				}`, dir, plain, secure, node))
			run(t, plain, path, "-c", filepath.Join(dir, "nginx.conf"), "-p", dir, "-e", "stderr")
		}},
		{"HAProxy", func(t *testing.T, plain, secure string) {
			path := program(t, "haproxy", "haproxy")
			dir := folder(t, map[string]string{"both.pem": own.certificate + own.key})
			write(t, filepath.Join(dir, "haproxy.cfg"), fmt.Sprintf("defaults\n\tmode http\n\ttimeout client 60s\n\ttimeout server 60s\n"+
				"\ttimeout connect 60s\nfrontend f\n\tbind %s proto h2\n\tbind %s ssl crt %s/both.pem alpn h2\n\tdefault_backend b\n"+
				"backend b\n\tserver s %s proto h2\n", plain, secure, dir, node))
			run(t, plain, path, "-db", "-f", filepath.Join(dir, "haproxy.cfg"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plain, secure := freeAddress(t), freeAddress(t)
			c.start(t, plain, secure)
			for scheme, address := range map[string]string{"grpc": plain, "grpcs": secure} {
				t.Run(scheme, func(t *testing.T) {
					a := start(t, "auto", route(to(scheme, address)))
					runGRPCCases(t, a.plain, "", undecided()...)
				})
			}
		})
	}
}
