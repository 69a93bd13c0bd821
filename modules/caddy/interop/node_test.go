// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// site is what every server serves.
func site(t *testing.T) string {
	t.Helper()
	large := 4 << 20
	if full {
		large = 256 << 20
	}
	return folder(t, map[string]string{
		"small.txt":  "hello, gateway\n",
		"empty.txt":  "",
		"page.html":  "<html>" + strings.Repeat("<p>a page that compresses well</p>\n", 2000) + "</html>",
		"large.bin":  string(bytes.Repeat(pattern(64<<10), large/(64<<10))),
		"dir/a.txt":  "in a folder",
		"uploads/_":  "",
		"a b%c.txt":  "a name with odd characters",
		"chunked/_":  "",
		"index.html": "index",
	})
}

// pattern returns bytes without a short period.
func pattern(n int) []byte {
	p := make([]byte, n)
	state := uint32(1)
	for i := range p {
		state = state*1664525 + 1013904223
		p[i] = byte(state >> 24)
	}
	return p
}

// request is one of those that are sent both to a server directly and through Ando.
type request struct {
	method, target, body string
	chunked              bool
	fields               []string
	// want is the status, and trailers that there are some, so that equal failures do not pass.
	want     int
	trailers bool
}

var requests = []request{
	{method: "GET", target: "/small.txt", want: 200},
	{method: "HEAD", target: "/small.txt", want: 200},
	{method: "GET", target: "/empty.txt", want: 200},
	{method: "GET", target: "/large.bin", want: 200},
	{method: "HEAD", target: "/large.bin", want: 200},
	{method: "GET", target: "/", want: 200},
	{method: "GET", target: "/a%20b%25c.txt?q=%2F&r", want: 200},
	{method: "GET", target: "/page.html", fields: []string{"Accept-Encoding", "gzip"}, want: 200},
	{method: "HEAD", target: "/page.html", fields: []string{"Accept-Encoding", "gzip"}, want: 200},
	{method: "GET", target: "/page.html", fields: []string{"Accept-Encoding", "identity"}, want: 200},
	{method: "GET", target: "/large.bin", fields: []string{"Range", "bytes=100000-200000"}, want: 206},
	{method: "GET", target: "/small.txt", fields: []string{"Range", "bytes=-3"}, want: 206},
	{method: "GET", target: "/small.txt", fields: []string{"Range", "bytes=1000-"}, want: 416},
	{method: "GET", target: "/small.txt", fields: []string{"If-None-Match", "ETag"}, want: 304},
	{method: "HEAD", target: "/small.txt", fields: []string{"If-None-Match", "ETag"}, want: 304},
	{method: "GET", target: "/small.txt", fields: []string{"If-Match", `"other"`}, want: 412},
	{method: "GET", target: "/missing", want: 404},
	{method: "HEAD", target: "/missing", want: 404},
	{method: "GET", target: "/dir", want: 301},
}

// refused is what most servers answer to a POST of a file.
var refused = request{method: "POST", target: "/small.txt", body: "refused", want: 405}

// uploads are for servers that take files.
var uploads = []request{
	{method: "PUT", target: "/uploads/sized", body: string(pattern(1 << 20)), want: 201},
	{method: "GET", target: "/uploads/sized", want: 200},
	{method: "PUT", target: "/uploads/chunked", body: string(pattern(300001)), chunked: true, want: 201},
	{method: "GET", target: "/uploads/chunked", want: 200},
	{method: "PUT", target: "/uploads/expected", body: string(pattern(100000)), fields: []string{"Expect", "100-continue"}, want: 201},
	{method: "GET", target: "/uploads/expected", want: 200},
	{method: "DELETE", target: "/uploads/sized", want: 204},
	{method: "DELETE", target: "/uploads/chunked", want: 204},
	{method: "DELETE", target: "/uploads/expected", want: 204},
}

// answer is what came back, as far as a gateway must leave it alone.
type answer struct {
	status  int
	length  int64
	header  map[string]string
	trailer map[string]string
	body    string
}

// ownFields are those that a gateway has a say in, or that differ from one connection to the next.
var ownFields = []string{"Date", "Server", "Connection", "Keep-Alive", "X-Connection", "Via"}

// send sends r to an address. etag stands for "ETag" in it.
func send(t *testing.T, client *http.Client, address string, r request, etag string) (answer, *http.Response) {
	t.Helper()
	var body io.Reader
	if r.body != "" {
		body = strings.NewReader(r.body)
	}
	if r.chunked {
		body = io.MultiReader(body)
	}
	q, err := http.NewRequestWithContext(t.Context(), r.method, "http://"+address+r.target, body)
	if err != nil {
		t.Fatal(err)
	}
	q.Host = "site.test"
	for i := 0; i < len(r.fields); i += 2 {
		q.Header.Set(r.fields[i], strings.ReplaceAll(r.fields[i+1], "ETag", etag))
	}
	res, err := client.Transport.RoundTrip(q)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.target, err)
	}
	defer res.Body.Close()
	content := io.Reader(res.Body)
	if r.method != "HEAD" && res.Header.Get("Content-Encoding") == "gzip" {
		// Compressed the same does not always come out the same.
		if content, err = gzip.NewReader(content); err != nil {
			t.Fatalf("%s %s: %v", r.method, r.target, err)
		}
	}
	digest := sha256.New()
	n, err := io.Copy(digest, content)
	if err != nil {
		t.Errorf("%s %s: after %d bytes: %v", r.method, r.target, n, err)
	}
	if rest, err := io.Copy(io.Discard, res.Body); rest > 0 || err != nil {
		t.Errorf("%s %s: then %d bytes, %v", r.method, r.target, rest, err)
	}
	a := answer{status: res.StatusCode, length: res.ContentLength, header: map[string]string{}, trailer: map[string]string{}}
	a.body = fmt.Sprintf("%d bytes, %x", n, digest.Sum(nil)[:8])
	for name, values := range res.Header {
		if !slices.Contains(ownFields, name) {
			a.header[name] = strings.Join(values, "\n")
		}
	}
	for name, values := range res.Trailer {
		a.trailer[name] = strings.Join(values, "\n")
	}
	return a, res
}

// server is one that others have written, running.
type server struct {
	// address keeps connections; closes ends each with its response.
	address, closes string
	uploads         bool
	requests        []request
}

// TestNodes: whatever a server answers, through Ando it is the same.
func TestNodes(t *testing.T) {
	for name, run := range map[string]func(*testing.T) server{"nginx": runNginx, "Apache httpd": runApache, "HAProxy": runHAProxy} {
		t.Run(name, func(t *testing.T) {
			s := run(t)
			for _, lane := range lanes() {
				t.Run(lane, func(t *testing.T) {
					compare(t, s, s.address, start(t, lane, route(to("http", s.address))), true)
				})
			}
			t.Run("closing", func(t *testing.T) {
				compare(t, s, s.closes, start(t, "auto", route(to("http", s.closes))), false)
			})
		})
	}
}

// compare sends every request to the server and to Ando in front of it. keeps says that the server keeps connections.
func compare(t *testing.T, s server, address string, a *ando, keeps bool) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	direct, _ := send(t, client, address, requests[0], "")
	etag := direct.header["Etag"]
	all := append(slices.Clone(requests), s.requests...)
	connections, served := map[string]bool{}, 0
	check := func(r request, want answer) {
		got, res := send(t, client, a.plain, r, etag)
		name := fmt.Sprintf("%s %s %q", r.method, r.target, r.fields)
		if want.status != r.want || r.trailers && len(want.trailer) == 0 {
			t.Errorf("%s: the server itself answers %+v, want %d", name, want, r.want)
		}
		if got.status != want.status || got.length != want.length || got.body != want.body ||
			!maps.Equal(got.header, want.header) || !maps.Equal(got.trailer, want.trailer) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
		if c := res.Header.Get("X-Connection"); c != "" {
			connections[c] = true
			served++
		}
	}
	for _, r := range all {
		want, _ := send(t, client, address, r, etag)
		check(r, want)
	}
	if s.uploads {
		for _, r := range uploads {
			got, _ := send(t, client, a.plain, r, etag)
			if got.status != r.want || r.method == "GET" && got.length == 0 {
				t.Errorf("%s %s: got %+v, want %d", r.method, r.target, got, r.want)
			}
			if r.method == "GET" {
				if want, _ := send(t, client, address, r, etag); want.body != got.body {
					t.Errorf("%s: got %s, want %s", r.target, got.body, want.body)
				}
			}
		}
	}
	switch {
	case served == 0:
	case keeps && len(connections) > served/2:
		t.Errorf("%d requests took %d connections", served, len(connections))
	case !keeps && len(connections) != served:
		t.Errorf("%d requests took %d connections of a server that closes each", served, len(connections))
	}
}

func runNginx(t *testing.T) server {
	path := program(t, "nginx", "nginx")
	root, dir := site(t), folder(t, map[string]string{"temp/_": ""})
	s := server{address: freeAddress(t), closes: freeAddress(t), uploads: true, requests: []request{
		refused, {method: "GET", target: "/trailers/page.html", want: 200, trailers: true},
	}}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	one := func(address, timeout string) string {
		return fmt.Sprintf(`server {
			listen %s; root %s; keepalive_timeout %s; client_max_body_size 0;
			add_header X-Connection $connection always;
			location /uploads/ { dav_methods PUT DELETE; }
			location /trailers/ { alias %[2]s/; add_trailer X-Sent $sent_http_content_type; gzip off; ssi on; ssi_types text/html; }
		}`, address, root, timeout)
	}
	config := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`%s daemon off; pid %[2]s/pid; error_log stderr warn; worker_processes 1; events {}
		http {
			access_log off; client_body_temp_path %[2]s/temp; proxy_temp_path %[2]s/temp; fastcgi_temp_path %[2]s/temp;
			uwsgi_temp_path %[2]s/temp; scgi_temp_path %[2]s/temp;
			types { text/html html; text/plain txt; } default_type application/octet-stream;
			absolute_redirect off; gzip on; gzip_min_length 100;
			%s %s
		}`, user, dir, one(s.address, "60s"), one(s.closes, "0"))
	write(t, config, text)
	run(t, s.address, path, "-c", config, "-p", dir, "-e", "stderr")
	return s
}

func runApache(t *testing.T) server {
	path := program(t, "apache2", "apache2")
	root, dir := site(t), folder(t, map[string]string{"_": ""})
	s := server{address: freeAddress(t), closes: freeAddress(t), uploads: true}
	for _, name := range []string{"uploads", ""} {
		if err := os.Chmod(filepath.Join(root, name), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	user := ""
	if os.Getuid() == 0 {
		user = "User www-data\nGroup www-data"
	}
	host := func(address, keep string) string {
		return fmt.Sprintf(`
Listen %s
<VirtualHost %[1]s>
	KeepAlive %[2]s
</VirtualHost>`, address, keep)
	}
	var modules strings.Builder
	for _, name := range []string{"mpm_event", "authz_core", "mime", "dir", "filter", "deflate", "headers", "dav", "dav_fs", "dav_lock"} {
		fmt.Fprintf(&modules, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", name, name)
	}
	config := filepath.Join(dir, "apache.conf")
	write(t, config, fmt.Sprintf(`%s
%s
ServerName site.test
ServerRoot %[3]s
PidFile %[3]s/pid
Mutex file:%[3]s
DavLockDB %[3]s/locks
ErrorLog /dev/stderr
LogLevel warn
DocumentRoot %[4]s
TypesConfig /dev/null
AddType text/html .html
AddType text/plain .txt
DirectoryIndex index.html
MaxKeepAliveRequests 0
AddOutputFilterByType DEFLATE text/html
Header always set X-Connection "expr=%%{REMOTE_ADDR}:%%{REMOTE_PORT}"
<Directory />
	Require all granted
</Directory>
<Location /uploads/>
	Dav On
</Location>
%[5]s
%[6]s
`, modules.String(), user, dir, root, host(s.address, "On"), host(s.closes, "Off")))
	run(t, s.address, path, "-X", "-f", config)
	return s
}

// runHAProxy starts one in front of a server of Go's: it adds little of its own but frames everything anew.
func runHAProxy(t *testing.T) server {
	path := program(t, "haproxy", "haproxy")
	files := http.FileServer(http.Dir(site(t)))
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/echo"):
			body, err := io.ReadAll(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Trailer", "X-Sum")
			_, _ = w.Write(body)
			w.Header().Set("X-Sum", fmt.Sprintf("%x %s", sha256.Sum256(body), r.Trailer.Get("X-Client")))
		case r.Method != "GET" && r.Method != "HEAD":
			w.Header().Set("Allow", "GET, HEAD")
			w.WriteHeader(http.StatusMethodNotAllowed)
		case r.URL.Path == "/":
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "index")
		default:
			if r.URL.Path == "/small.txt" {
				w.Header().Set("ETag", `"tag"`)
			}
			files.ServeHTTP(w, r)
		}
	})
	s := server{address: freeAddress(t), closes: freeAddress(t), requests: []request{
		refused,
		{method: "POST", target: "/echo", body: string(pattern(100000)), want: 200, trailers: true},
		{method: "POST", target: "/echo", body: string(pattern(100000)), chunked: true, want: 200, trailers: true},
		{method: "POST", target: "/echo", body: "x", fields: []string{"Expect", "100-continue"}, want: 200, trailers: true},
	}}
	config := filepath.Join(folder(t, nil), "haproxy.cfg")
	front := func(address, option string) string {
		return fmt.Sprintf("frontend f%s\n\tbind %[1]s\n\toption %s\n\thttp-response set-header X-Connection %%[src]:%%[src_port]\n"+
			"\tcompression algo gzip\n\tcompression type text/html\n\tdefault_backend origin\n", address, option)
	}
	write(t, config, "global\n\tmaxconn 100\ndefaults\n\tmode http\n\ttimeout client 60s\n\ttimeout server 60s\n\ttimeout connect 60s\n"+
		front(s.address, "http-keep-alive")+front(s.closes, "httpclose")+"backend origin\n\tserver s "+origin+"\n")
	run(t, s.address, path, "-db", "-f", config)
	return s
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
