// SPDX-License-Identifier: Apache-2.0

package oasvalidator

import (
	"errors"
	"fmt"
	"strings"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// document is a compiled OpenAPI description. It is immutable.
type document struct{ router }

// operation is one method of one path (OpenAPI 3.1.0 section 4.8.10).
type operation struct {
	// parameters are in the order path, query, header.
	parameters []*parameter
	// body is nil when nothing is said of it.
	body *body
}

// compileDocument reads a description in JSON, of OpenAPI 3.0 or 3.1.
func compileDocument(text []byte) (d *document, err error) {
	defer func() {
		// A description may come from anywhere. What it makes of a library must not take the gateway down.
		if p := recover(); p != nil {
			d, err = nil, fmt.Errorf("the description cannot be compiled: %v", p)
		}
	}()
	value, err := schema.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("failed to parse spec: %w", err)
	}
	root, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("failed to parse spec: an object is expected")
	}
	n, err := normalizerFor(root)
	if err != nil {
		return nil, err
	}
	if err := n.document(root); err != nil {
		return nil, fmt.Errorf("normalization error: %w", err)
	}
	c := &compiler{root: root, shapes: map[string]*shape{}}
	d = &document{}
	if err := c.paths(&d.router); err != nil {
		return nil, err
	}
	return d, c.finish()
}

// check returns what is wrong with a request: nil, or an error whose text is for the client, one problem on each line.
func (d *document) check(x *gateway.Exchange, skips skips) error {
	match, ok := d.match(x.Request.Method, x.Request.Path)
	if !ok {
		return fmt.Errorf("no matching operation found for %s %s", x.Request.Method, x.Request.Path)
	}
	var found problems
	values := values{request: &x.Request, path: match.values()}
	for _, p := range match.operation.parameters {
		if !p.skipped(skips) {
			p.check(&values, &found)
		}
	}
	if b := match.operation.body; b != nil && !skips.body {
		raw, err := x.Body()
		switch {
		case errors.Is(err, gateway.ErrBodyTooLarge):
			return err
		case err != nil:
			return errUnreadable
		}
		b.check(x, raw, &found)
	}
	if len(found) > 0 {
		return found
	}
	return nil
}

// errUnreadable says that the body of a request is broken.
var errUnreadable = errors.New("the request body cannot be read")

// problems are what is wrong with a request, as texts.
type problems []string

func (p problems) Error() string { return strings.Join(p, "\n") }

// add takes down a problem; param is empty when it is that of a whole.
func (p *problems) add(location, param, text string) {
	if param != "" {
		location += " parameter '" + param + "'"
	}
	*p = append(*p, location+": "+text)
}
