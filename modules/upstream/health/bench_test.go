// SPDX-License-Identifier: Apache-2.0

//go:build unix

package health

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

const serverVariable = "ANDO_TEST_PROBED"

// TestProbedServer is no test: it is the process with the nodes of BenchmarkThousandUpstreams. It says its port and ends
// with its input.
func TestProbedServer(t *testing.T) {
	if os.Getenv(serverVariable) == "" {
		t.Skip("only as a process of its own")
	}
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = server.Serve(ln) }()
	fmt.Println("port", ln.Addr().(*net.TCPAddr).Port)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func startProbed(b *testing.B) (port int) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestProbedServer$")
	cmd.Env = append(os.Environ(), serverVariable+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "port "); ok {
			port, err = strconv.Atoi(text)
			if err != nil {
				b.Fatal(err)
			}
			return port
		}
	}
	b.Fatal("no port")
	return 0
}

func cpuTime() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkThousandUpstreams has 1 000 objects of one node each, probed once a second, and says what share of one
// processor this process takes for it. The nodes are another process. One iteration is one second.
func BenchmarkThousandUpstreams(b *testing.B) {
	for _, kind := range []string{"http", "tcp"} {
		b.Run(kind, func(b *testing.B) {
			const objects = 1000
			port := startProbed(b)
			p := NewPool(nil)
			defer p.Close()
			config, err := Parse([]byte(`{"active":{"type":"` + kind + `"}}`))
			if err != nil {
				b.Fatal(err)
			}
			for i := range objects {
				host := fmt.Sprintf("127.0.%d.%d", i/250, i%250+1)
				n := &gateway.Node{Host: host, Port: port, Addr: net.JoinHostPort(host, strconv.Itoa(port)), State: new(gateway.NodeState)}
				u := &gateway.Upstream{Key: "/apisix/upstreams/" + strconv.Itoa(i), Nodes: []*gateway.Node{n}}
				u.Health = New(config, u, nil)
				p.Set(u)
			}
			time.Sleep(2 * time.Second)
			began, used := time.Now(), cpuTime()
			for b.Loop() {
				time.Sleep(time.Second)
			}
			b.ReportMetric(100*float64(cpuTime()-used)/float64(time.Since(began)), "%core")
			for _, report := range p.Reports() {
				if n := report.Nodes[0]; n.Status != Healthy {
					b.Fatalf("%s is %v: %s", report.Key, n.Status, n.Reason)
				}
			}
		})
	}
}
