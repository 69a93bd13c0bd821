// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// digests is a node that tells what it was sent, and sends what it is asked for.
func digests(w http.ResponseWriter, r *http.Request) {
	if r.Method == "GET" || r.Method == "HEAD" {
		n, _ := strconv.Atoi(r.URL.Query().Get("bytes"))
		http.ServeContent(w, r, "bytes.bin", time.Unix(1, 0), strings.NewReader(content(n)))
		return
	}
	digest := sha256.New()
	n, err := io.Copy(digest, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Trailer", "X-Digest")
	fmt.Fprintf(w, "%s %d %x", r.Method, n, digest.Sum(nil))
	w.Header().Set("X-Digest", fmt.Sprintf("%x", digest.Sum(nil)))
}

func content(n int) string {
	text := strings.Repeat(string(pattern(64<<10)), n/(64<<10)+1)
	return text[:n]
}

// TestCurl: what curl sends and receives is whole, in every version of HTTP that it knows.
func TestCurl(t *testing.T) {
	curl := program(t, "curl", "curl")
	version, err := exec.Command(curl, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	size := 8 << 20
	if full {
		size = 512 << 20
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "upload")
	write(t, file, content(size))
	sum := sha256.Sum256([]byte(content(size)))
	uploaded := func(method string) string { return fmt.Sprintf("%s %d %x", method, size, sum) }

	a := start(t, "auto", route(to("http", serve(t, digests))))
	root := filepath.Join(dir, "root.pem")
	write(t, root, a.identity.certificate)
	secure := "https://localhost:" + a.secure[strings.LastIndexByte(a.secure, ':')+1:]
	for _, c := range []struct{ option, base, needs, speaks string }{
		{"--http1.0", "http://" + a.plain, "", "1.1"},
		{"--http1.1", "http://" + a.plain, "", "1.1"},
		{"--http2-prior-knowledge", "http://" + a.plain, "HTTP2", "2"},
		{"--http1.1", secure, "", "1.1"},
		{"--http2", secure, "HTTP2", "2"},
		{"--http3-only", secure, "HTTP3", "3"},
	} {
		scheme, _, _ := strings.Cut(c.base, ":")
		t.Run(scheme+" "+strings.TrimPrefix(c.option, "--"), func(t *testing.T) {
			if !strings.Contains(string(version), c.needs) {
				t.Skip("this curl does not speak " + c.needs)
			}
			do := func(args ...string) string {
				t.Helper()
				args = append([]string{"-sS", "-f", "-m", "300", "--cacert", root, c.option}, args...)
				command := exec.Command(curl, args...)
				command.Stdin = strings.NewReader(content(size))
				output, err := command.CombinedOutput()
				if err != nil {
					t.Errorf("curl %v: %v\n%.1000s", args, err, output)
				}
				return string(output)
			}
			url := fmt.Sprintf("%s/?bytes=%d", c.base, size)
			got := filepath.Join(t.TempDir(), "download")
			if spoken := do("-o", got, "-w", "%{http_version} %{response_code} %{size_download}", url); spoken != fmt.Sprintf("%s 200 %d", c.speaks, size) {
				t.Errorf("download: %s", spoken)
			}
			if read, err := os.ReadFile(got); err != nil || sha256.Sum256(read) != sum {
				t.Errorf("download: %d bytes that differ, %v", len(read), err)
			}
			if head := do("-I", url); !strings.Contains(strings.ToLower(head), fmt.Sprintf("content-length: %d\r\n", size)) {
				t.Errorf("HEAD: %s", head)
			}
			if part := do("-r", "1000-1999", url); part != content(size)[1000:2000] {
				t.Errorf("range: %d bytes", len(part))
			}
			if answer := do("-T", file, c.base); answer != uploaded("PUT") {
				t.Errorf("PUT: %s", answer)
			}
			if answer := do("-X", "POST", "--data-binary", "@"+file, c.base); answer != uploaded("POST") {
				t.Errorf("POST: %s", answer)
			}
			if c.option != "--http1.0" {
				// Its length is not known beforehand.
				if answer := do("-T", "-", "-H", "Expect: 100-continue", c.base); answer != uploaded("PUT") {
					t.Errorf("PUT of unknown length: %s", answer)
				}
			}
			if strings.Contains(c.option, "prior-knowledge") {
				// The next is more than curl 7.88 can do with it, whoever serves.
				return
			}
			// One connection for all of them, and with HTTP/2 all at once.
			many := do("-Z", "--parallel-max", "20", "-w", "%{response_code} %{size_download}\n", "-o", "/dev/null", c.base+"/?bytes=100000&[1-50]")
			if n := strings.Count(many, "200 100000\n"); n != 50 {
				t.Errorf("%d of 50 at once are whole", n)
			}
		})
	}
}

// TestHTTP3 uses quic-go's client, for curls without HTTP/3.
func TestHTTP3(t *testing.T) {
	a := start(t, "auto", route(to("http", serve(t, digests))))
	transport := &http3.Transport{TLSClientConfig: a.identity.trusts()}
	defer transport.Close()
	const size = 1 << 20
	for _, r := range []struct{ method, want string }{
		{"GET", content(size)}, {"POST", fmt.Sprintf("POST %d %x", size, sha256.Sum256([]byte(content(size))))},
	} {
		var body io.Reader
		if r.method == "POST" {
			body = strings.NewReader(content(size))
		}
		q, err := http.NewRequestWithContext(t.Context(), r.method, fmt.Sprintf("https://%s/?bytes=%d", a.secure, size), body)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.ProtoMajor != 3 || string(got) != r.want {
			t.Errorf("%s: HTTP/%d, %d bytes, %v", r.method, response.ProtoMajor, len(got), err)
		}
		if r.method == "POST" && response.Trailer.Get("X-Digest") == "" {
			t.Errorf("trailers %v", response.Trailer)
		}
	}
}
