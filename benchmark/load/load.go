// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command load sends HTTP/1.1 requests over many connections as fast as they are answered, and can be the upstream node
// that answers them behind a proxy. Clients and node share one event loop, so that one wake-up serves many requests and the
// load costs much less than the proxy it measures. It shares no code with the gateway. The result is one line of JSON.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// config says what to send, and for how long.
type config struct {
	// target is the IPv4 address and port that requests are sent to.
	target string
	// node is the address that the node listens on, or "" when there is a node already.
	node string
	// connections are the clients. With none the program is only a node.
	connections int
	duration    time.Duration
	// least is how many requests have to be answered or fail before the run ends, unless that takes a minute longer.
	least int64

	// path, host and header go into requests; {N} in them stands for the number of the connection modulo N.
	path, host, header string
	// upload is the length of each request's body.
	upload int
	// body is the length that every answer's body must have, and that the node's has.
	body int
	// status is what every answer must have.
	status int
	// fresh makes a new connection for every request.
	fresh bool
	// wire is the interface to the kernel: uring, epoll, or auto for the first of them that works.
	wire string
	// patience is how long an answer may take before it counts as an error.
	patience time.Duration
}

// result is what a run gives. Requests are those that were answered, rightly or not.
type result struct {
	Generator   string           `json:"generator"`
	Wire        string           `json:"wire"`
	Connections int              `json:"connections"`
	Seconds     float64          `json:"seconds"`
	Requests    int64            `json:"requests"`
	RPS         float64          `json:"rps"`
	P50         float64          `json:"p50_us"`
	P99         float64          `json:"p99_us"`
	Errors      int64            `json:"errors"`
	Kinds       map[string]int64 `json:"error_kinds,omitempty"`
	CPU         float64          `json:"cpu_seconds"`
}

func main() {
	var c config
	flag.StringVar(&c.target, "target", "", "IPv4 `address` and port to send requests to")
	flag.StringVar(&c.node, "node", "", "`address` to be the upstream node on")
	flag.IntVar(&c.connections, "connections", 64, "number of clients; 0 to be a node alone")
	flag.DurationVar(&c.duration, "duration", 2*time.Second, "how long; 0 is until the process is ended")
	flag.Int64Var(&c.least, "least", 0, "go on, at most for a minute, until so many requests have been answered or failed")
	flag.StringVar(&c.path, "path", "/", "path of requests; {N} in it is the connection's number modulo N")
	flag.StringVar(&c.host, "host", "localhost", "Host of requests; {N} as in -path")
	flag.StringVar(&c.header, "header", "", "one more header line of requests, `name: value`; {N} as in -path")
	flag.IntVar(&c.upload, "upload", 0, "length of each request's body")
	flag.IntVar(&c.body, "body", 0, "length of each answer's body: the node sends it, clients check it")
	flag.IntVar(&c.status, "status", 200, "status that answers must have")
	flag.BoolVar(&c.fresh, "fresh", false, "make a new connection for every request")
	slow := flag.Bool("slow", false, "send no requests, but a byte of a head each second, on every connection")
	flag.StringVar(&c.wire, "wire", "auto", "uring, epoll or auto")
	flag.DurationVar(&c.patience, "patience", 2*time.Second, "how long an answer may take before it is an error")
	flag.Parse()
	if flag.NArg() > 0 || c.connections > 0 && c.target == "" {
		flag.Usage()
		os.Exit(2)
	}
	if *slow {
		var over <-chan time.Time
		if c.duration > 0 {
			over = time.After(c.duration)
		}
		if err := dawdle(c, over); err != nil {
			fmt.Fprintln(os.Stderr, "load:", err)
			os.Exit(1)
		}
		return
	}
	r, err := run(c)
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
}

// request returns what the client with this number sends.
func (c *config) request(number int) []byte {
	var b strings.Builder
	method := "GET"
	if c.upload > 0 {
		method = "POST"
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: load\r\nAccept: */*\r\n",
		method, numbered(c.path, number), numbered(c.host, number))
	if c.header != "" {
		fmt.Fprintf(&b, "%s\r\n", numbered(c.header, number))
	}
	if c.upload > 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", c.upload)
	}
	if c.fresh {
		b.WriteString("Connection: close\r\n")
	}
	b.WriteString("\r\n")
	b.WriteString(strings.Repeat("u", c.upload))
	return []byte(b.String())
}

// answer returns what the node sends.
func (c *config) answer() []byte {
	head := fmt.Sprintf("HTTP/1.1 %d OK\r\nServer: node\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", c.status, c.body)
	return append([]byte(head), strings.Repeat("b", c.body)...)
}

// numbered replaces every {N} in a text with number modulo N.
func numbered(text string, number int) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "{")
		digits, after, closed := strings.Cut(rest, "}")
		n, err := strconv.Atoi(digits)
		if !ok || !closed || err != nil || n <= 0 {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(before)
		b.WriteString(strconv.Itoa(number % n))
		text = after
	}
}
