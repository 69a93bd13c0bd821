// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lane"
)

// accessLog writes the lines of requests that event loops have served, as the server itself writes those of others: to the
// same loggers, with the same fields. It is safe for concurrent use.
type accessLog struct {
	config *caddyhttp.ServerLogConfig
	// logger is http.log.access of the config.
	logger *zap.Logger
	// byHost has the loggers of hosts that were asked for, as they were spelled. It is replaced when one is added.
	byHost atomic.Pointer[map[string][]*zap.Logger]
	lines  sync.Pool
}

// maxLogHosts bounds byHost. The loggers of further hosts are looked up for every request.
const maxLogHosts = 1024

// newAccessLog returns the log of a server, or nil when it keeps none. app is the logger of Caddy's http app.
func newAccessLog(config *caddyhttp.ServerLogConfig, app *zap.Logger) *accessLog {
	if config == nil {
		return nil
	}
	l := &accessLog{config: config, logger: app.Named("log.access")}
	l.lines.New = func() any { return newLine(config.ShouldLogCredentials) }
	l.byHost.Store(&map[string][]*zap.Logger{})
	return l
}

// loggers returns where a request for the host, with or without port, is logged. Nowhere is an empty list.
func (l *accessLog) loggers(host string) []*zap.Logger {
	known := l.byHost.Load()
	if loggers, ok := (*known)[host]; ok {
		return loggers
	}
	host = strings.Clone(host)
	loggers := l.choose(host)
	if len(*known) < maxLogHosts {
		more := maps.Clone(*known)
		more[host] = loggers
		// When another goroutine was faster, the next request is the one that is remembered.
		l.byHost.CompareAndSwap(known, &more)
	}
	return loggers
}

func (l *accessLog) choose(host string) (loggers []*zap.Logger) {
	if bare, _, err := net.SplitHostPort(host); err == nil {
		host = bare
	}
	if !l.wants(host) {
		return nil
	}
	for _, name := range l.names(host) {
		if name == "" {
			loggers = append(loggers, l.logger)
		} else {
			loggers = append(loggers, l.logger.Named(name))
		}
	}
	return loggers
}

// wants is what Caddy's Server.shouldLogRequest says.
func (l *accessLog) wants(host string) bool {
	for pattern := range l.config.LoggerNames {
		if certmagic.MatchWildcard(host, pattern) {
			return true
		}
	}
	for _, pattern := range l.config.SkipHosts {
		if certmagic.MatchWildcard(host, pattern) {
			return false
		}
	}
	return !l.config.SkipUnmappedHosts
}

// names is what Caddy's ServerLogConfig.getLoggerHosts returns: the names for the host itself, else for the wildcard with
// the fewest labels replaced, else the default.
func (l *accessLog) names(host string) []string {
	host = strings.ToLower(host)
	if names, ok := l.config.LoggerNames[host]; ok {
		return names
	}
	labels := strings.Split(host, ".")
	for i := range labels {
		if labels[i] == "" {
			continue
		}
		labels[i] = "*"
		if names, ok := l.config.LoggerNames[strings.Join(labels, ".")]; ok {
			return names
		}
	}
	return []string{l.config.DefaultLoggerName}
}

// write logs one request.
func (l *accessLog) write(r *lane.Record) {
	loggers := l.loggers(r.Host)
	if len(loggers) == 0 {
		return
	}
	level := zapcore.InfoLevel
	if r.Status >= 500 {
		level = zapcore.ErrorLevel
	}
	line := l.lines.Get().(*line)
	for i, logger := range loggers {
		entry := logger.Check(level, "handled request")
		if entry == nil {
			continue
		}
		// The line may come a little later than the response.
		entry.Time = r.Start.Add(r.Took)
		if i == 0 || line.record != r {
			line.set(r)
		}
		entry.Write(line.fields...)
	}
	line.record = nil
	l.lines.Put(line)
}

// summarize adds to the server's own access log what it cannot know of a request that the gateway has served.
func summarize(r *http.Request, x *gateway.Exchange) {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	fields, _ := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	if server == nil || server.Logs == nil || fields == nil {
		return
	}
	s := new(gateway.Summary)
	if s.Take(x); !s.Empty() {
		fields.Set(s.Field())
	}
}

// line is one line on its way to the encoders, which must be done with it when they return, as zap's are. It is used
// again, so that writing allocates nothing.
type line struct {
	record      *lane.Record
	credentials bool
	fields      []zap.Field
	// values holds the value of each field of the two headers, those of the response from responseAt on, and boxed the same
	// as arrays of one.
	values []string
	boxed  []zapcore.ArrayMarshaler
}

const responseAt = 128

func newLine(credentials bool) *line {
	l := &line{credentials: credentials, values: make([]string, 2*responseAt), fields: make([]zap.Field, 0, 8)}
	for i := range l.values {
		l.boxed = append(l.boxed, caddyhttp.LoggableStringArray(l.values[i:i+1:i+1]))
	}
	return l
}

// set makes the fields of the line, in the order in which Caddy has them.
func (l *line) set(r *lane.Record) {
	l.record = r
	l.fields = append(l.fields[:0],
		zap.Object("request", (*loggedRequest)(l)),
		zap.Int64("bytes_read", r.Read),
		zap.String("user_id", ""),
		zap.Duration("duration", r.Took),
		zap.Int64("size", r.Written),
		zap.Int("status", r.Status),
		zap.Object("resp_headers", (*loggedResponse)(l)),
	)
	if !r.Empty() {
		l.fields = append(l.fields, r.Summary.Field())
	}
}

type (
	loggedRequest       line
	loggedRequestHeader line
	loggedResponse      line
)

// MarshalLogObject writes what caddyhttp.LoggableHTTPRequest does.
func (l *loggedRequest) MarshalLogObject(e zapcore.ObjectEncoder) error {
	r := l.record
	e.AddString("remote_ip", r.RemoteIP)
	e.AddString("remote_port", r.RemotePort)
	// A server with trusted proxies is not served by loops.
	e.AddString("client_ip", r.RemoteIP)
	e.AddString("proto", r.Proto)
	e.AddString("method", r.Method)
	e.AddString("host", r.Host)
	e.AddString("uri", r.URI)
	if err := e.AddObject("headers", (*loggedRequestHeader)(l)); err != nil {
		return err
	}
	if r.Chunked {
		if err := e.AddArray("transfer_encoding", chunked); err != nil {
			return err
		}
	}
	if r.TLS != nil {
		return e.AddObject("tls", (*caddyhttp.LoggableTLSConnState)(r.TLS))
	}
	return nil
}

var chunked zapcore.ArrayMarshaler = caddyhttp.LoggableStringArray{"chunked"}

// MarshalLogObject writes what caddyhttp.LoggableHTTPHeader does, in the order of the fields.
func (l *loggedRequestHeader) MarshalLogObject(e zapcore.ObjectEncoder) error {
	return (*line)(l).addHeader(e, l.record.Header, 0)
}

// MarshalLogObject writes what caddyhttp.LoggableHTTPHeader does, in the order of the fields.
func (l *loggedResponse) MarshalLogObject(e zapcore.ObjectEncoder) error {
	return (*line)(l).addHeader(e, l.record.Response, responseAt)
}

// addHeader adds each field with all its values. at is where its values have their place in l.
func (l *line) addHeader(e zapcore.ObjectEncoder, fields []gateway.Field, at int) error {
	for i := range fields {
		name := fields[i].Name
		if indexName(fields[:i], name) >= 0 {
			continue
		}
		var values zapcore.ArrayMarshaler
		switch {
		case !l.credentials && isCredential(name):
			values = redacted
		case i < responseAt && indexName(fields[i+1:], name) < 0:
			l.values[at+i] = fields[i].Value
			values = l.boxed[at+i]
		default:
			var all caddyhttp.LoggableStringArray
			for _, field := range fields[i:] {
				if field.Name == name {
					all = append(all, field.Value)
				}
			}
			values = all
		}
		if err := e.AddArray(name, values); err != nil {
			return err
		}
	}
	return nil
}

var redacted zapcore.ArrayMarshaler = caddyhttp.LoggableStringArray{"REDACTED"}

// isCredential reports whether Caddy keeps the field out of logs unless it is told otherwise.
func isCredential(name string) bool {
	switch name {
	case "Cookie", "Set-Cookie", "Authorization", "Proxy-Authorization":
		return true
	}
	return false
}

func indexName(fields []gateway.Field, name string) int {
	for i := range fields {
		if fields[i].Name == name {
			return i
		}
	}
	return -1
}
