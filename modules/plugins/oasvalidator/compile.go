// SPDX-License-Identifier: Apache-2.0

package oasvalidator

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/andogate/ando/admin/schema"
)

// compiler makes a document of a description that is in normal form. Schemas are collected by where they are, and compiled
// together in the end.
type compiler struct {
	root     map[string]any
	shapes   map[string]*shape
	pointers []string
	targets  []**schema.Schema
}

// methods are those that a description can speak of.
var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}

func (c *compiler) paths(r *router) error {
	paths, _ := c.root["paths"].(map[string]any)
	for _, template := range slices.Sorted(maps.Keys(paths)) {
		if !strings.HasPrefix(template, "/") {
			continue
		}
		at, item, err := c.object(join("/paths", template), paths[template])
		if err != nil {
			return err
		}
		names, add, err := r.add(template)
		if err != nil {
			return fmt.Errorf("path %s: %w", template, err)
		}
		common, err := c.parameters(join(at, "parameters"), item["parameters"], names)
		if err != nil {
			return fmt.Errorf("path %s: %w", template, err)
		}
		for _, method := range methods {
			if item[method] == nil {
				continue
			}
			op, err := c.operation(join(at, method), item[method], common, names)
			if err != nil {
				return fmt.Errorf("%s %s: %w", method, template, err)
			}
			add(strings.ToUpper(method), op)
		}
	}
	return nil
}

func (c *compiler) operation(at string, value any, common []*parameter, names []string) (*operation, error) {
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: an object is expected", at)
	}
	own, err := c.parameters(join(at, "parameters"), object["parameters"], names)
	if err != nil {
		return nil, err
	}
	op := &operation{}
	for _, p := range common {
		if !slices.ContainsFunc(own, func(o *parameter) bool { return o.in == p.in && o.name == p.name }) {
			op.parameters = append(op.parameters, p)
		}
	}
	op.parameters = append(op.parameters, own...)
	slices.SortStableFunc(op.parameters, func(a, b *parameter) int { return int(a.in) - int(b.in) })
	if object["requestBody"] != nil {
		op.body, err = c.body(join(at, "requestBody"), object["requestBody"])
	}
	return op, err
}

// parameters compiles a list of them. Cookies are nobody's business here, as in APISIX.
func (c *compiler) parameters(at string, value any, names []string) ([]*parameter, error) {
	list, ok := value.([]any)
	if !ok && value != nil {
		return nil, fmt.Errorf("%s: a list is expected", at)
	}
	var all []*parameter
	for i, value := range list {
		at, object, err := c.object(join(at, strconv.Itoa(i)), value)
		if err != nil {
			return nil, err
		}
		p := &parameter{index: -1}
		p.name, _ = object["name"].(string)
		in, _ := object["in"].(string)
		if in == "cookie" {
			continue
		}
		if p.in, ok = places[in]; !ok || p.name == "" {
			return nil, fmt.Errorf("%s: a parameter has a name, and is in path, query, header or cookie", at)
		}
		if p.in == inPath {
			p.index = slices.Index(names, p.name)
		}
		p.required, _ = object["required"].(bool)
		p.emptyAllowed, _ = object["allowEmptyValue"].(bool)
		if err := p.serialize(object); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		c.parameterSchema(p, at, object)
		all = append(all, p)
	}
	return all, nil
}

func (c *compiler) parameterSchema(p *parameter, at string, object map[string]any) {
	if object["schema"] != nil {
		p.shape = c.schema(join(at, "schema"), &p.schema)
		return
	}
	content, _ := object["content"].(map[string]any)
	for media, value := range content {
		inner, _ := value.(map[string]any)
		if isJSON(mediaType(media)) && inner["schema"] != nil {
			p.json = true
			p.shape = c.schema(join(at, "content", media, "schema"), &p.schema)
			return
		}
	}
}

func (c *compiler) body(at string, value any) (*body, error) {
	at, object, err := c.object(at, value)
	if err != nil {
		return nil, err
	}
	b := &body{}
	b.required, _ = object["required"].(bool)
	content, _ := object["content"].(map[string]any)
	for _, media := range slices.Sorted(maps.Keys(content)) {
		m := &bodyMedia{pattern: mediaType(media)}
		if inner, _ := content[media].(map[string]any); inner["schema"] != nil {
			m.shape = c.schema(join(at, "content", media, "schema"), &m.schema)
			m.readOnly = slices.Sorted(maps.Keys(m.shape.readOnly))
		}
		b.media = append(b.media, m)
	}
	slices.SortStableFunc(b.media, func(a, b *bodyMedia) int { return strings.Count(a.pattern, "*") - strings.Count(b.pattern, "*") })
	return b, nil
}

// schema has the schema at a pointer compiled into target, and returns its shape.
func (c *compiler) schema(at string, target **schema.Schema) *shape {
	c.pointers = append(c.pointers, at)
	c.targets = append(c.targets, target)
	return c.shape(at)
}

// finish compiles what has been collected.
func (c *compiler) finish() error {
	compiled, err := schema.CompileParts(c.root, c.pointers)
	if err != nil {
		return err
	}
	for i, target := range c.targets {
		*target = compiled[i]
	}
	return nil
}

// maxReferences is how many references may lead to one another.
const maxReferences = 32

// object returns an object, or the one that it refers to, and where that is.
func (c *compiler) object(at string, value any) (string, map[string]any, error) {
	for range maxReferences {
		object, ok := value.(map[string]any)
		if !ok {
			return "", nil, fmt.Errorf("%s: an object is expected", at)
		}
		reference, ok := object["$ref"].(string)
		if !ok {
			return at, object, nil
		}
		if at, value = lookup(c.root, reference); value == nil {
			return "", nil, fmt.Errorf("failed to resolve $ref: %s is not in the document", reference)
		}
	}
	return "", nil, fmt.Errorf("failed to resolve $ref: %s refers to itself", at)
}
