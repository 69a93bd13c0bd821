// SPDX-License-Identifier: Apache-2.0

package proxyrewrite

import (
	"errors"
	"fmt"
	"strings"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/fields"
)

// uriTemplate is a path with variables and perhaps a query. What variables bring along is of the part in which they stand.
type uriTemplate struct {
	path, query *expr.Template
	hasQuery    bool
	// constant is the escaped path where it has no variables.
	constant string
}

func parseURI(text string) *uriTemplate {
	path, query, hasQuery := strings.Cut(text, "?")
	u := &uriTemplate{path: expr.ParseTemplate(path), query: expr.ParseTemplate(query), hasQuery: hasQuery}
	if text, ok := u.path.Const(); ok {
		u.constant = string(fields.AppendPath(nil, text))
	}
	return u
}

// pathPattern is a pair of regex_uri.
type pathPattern struct {
	pattern *expr.Pattern
	with    *expr.Replacement
	// text is how the pattern was written.
	text string
}

func compilePatterns(pairs []string) ([]pathPattern, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("The length of regex_uri should be an even number")
	}
	var patterns []pathPattern
	for i := 0; i < len(pairs); i += 2 {
		pattern, err := expr.CompilePattern(pairs[i], false)
		if err != nil {
			return nil, fmt.Errorf("invalid regex_uri(%s, %s): %w", pairs[i], pairs[i+1], err)
		}
		patterns = append(patterns, pathPattern{pattern, expr.ParseReplacement(pairs[i+1]), pairs[i]})
	}
	return patterns, nil
}

// rewriteTarget sets what is sent in the place of the request's target, and returns what $1 and the like stand for.
func (r *rewrite) rewriteTarget(x *gateway.Exchange) (match fields.Match, err error) {
	switch {
	case r.uri != nil && r.unsafe:
		target := r.uri.path.String(x)
		if r.uri.hasQuery {
			target += "?" + r.uri.query.String(x)
		}
		x.Forward.Target = rooted(fields.AppendURI(nil, target))
	case r.uri != nil:
		r.uri.rewrite(x)
	case r.patterns != nil:
		return r.substitute(x)
	case r.unsafe:
		x.Forward.Target = received(&x.Request)
	}
	return match, nil
}

func (u *uriTemplate) rewrite(x *gateway.Exchange) {
	args := x.Request.Query
	if u.constant != "" && !u.hasQuery && args == "" {
		x.Forward.Target = u.constant
		return
	}
	target := fields.AppendPath(nil, u.path.String(x))
	if u.hasQuery {
		target = fields.AppendURI(append(target, '?'), strings.ReplaceAll(u.query.String(x), "#", "%23"))
	}
	x.Forward.Target = rooted(appendArgs(target, u.hasQuery, args))
}

// appendArgs appends the client's query.
func appendArgs(target []byte, hasQuery bool, args string) []byte {
	if args == "" {
		return target
	}
	separator := byte('?')
	if hasQuery {
		separator = '&'
	}
	return append(append(target, separator), args...)
}

// substitute takes the first pattern that matches. The path is matched as it is decoded, and encoded again; a "?" in it is
// then one of the path, while one that only the replacement has begins a query.
func (r *rewrite) substitute(x *gateway.Exchange) (fields.Match, error) {
	text := x.Request.Path
	if r.unsafe {
		text = received(&x.Request)
	}
	for _, p := range r.patterns {
		replaced, groups, err := p.pattern.Replace(text, p.with)
		if err != nil {
			return fields.Match{}, fmt.Errorf("failed to match the uri %s (%s)  : %w", x.Request.Path, p.text, err)
		}
		if groups == nil {
			continue
		}
		match := fields.Match{Text: text, Groups: groups}
		if r.unsafe {
			x.Forward.Target = rooted(fields.AppendURI(nil, strings.ReplaceAll(replaced, "#", "%23")))
			return match, nil
		}
		path, query, hasQuery := replaced, "", false
		if !strings.Contains(text, "?") {
			path, query, hasQuery = strings.Cut(replaced, "?")
		}
		target := fields.AppendPath(nil, path)
		if hasQuery {
			target = fields.AppendURI(append(target, '?'), strings.ReplaceAll(query, "#", "%23"))
		}
		x.Forward.Target = rooted(appendArgs(target, hasQuery, x.Request.Query))
		return match, nil
	}
	if r.unsafe {
		x.Forward.Target = text
	}
	return fields.Match{}, nil
}

// received returns the target as the client wrote it, in origin-form.
func received(r *gateway.Request) string {
	target := r.Target
	if !strings.HasPrefix(target, "/") {
		if _, rest, ok := strings.Cut(target, "://"); ok {
			i := strings.IndexAny(rest, "/?")
			if i < 0 {
				return "/"
			}
			target = rest[i:]
		}
	}
	if strings.HasPrefix(target, "?") {
		return "/" + target
	}
	return target
}

// rooted makes sure that what is sent is a path: a node might take anything else for another host.
func rooted(target []byte) string {
	if len(target) == 0 || target[0] != '/' {
		return "/" + string(target)
	}
	return string(target)
}
