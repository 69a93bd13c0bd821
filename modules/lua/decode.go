// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	gopher "github.com/yuin/gopher-lua"
	"golang.org/x/net/html/charset"
)

// decode returns the body as a table. multi is the object of a multipart body.
func (s *state) decode(in Input) (t, multi *gopher.LTable, err error) {
	err = protect(func() (err error) {
		t, multi, err = s.decoded(in)
		return err
	})
	return t, multi, err
}

func (s *state) decoded(in Input) (t, multi *gopher.LTable, err error) {
	switch in.Format {
	case "json":
		v, err := decodeJSON(s.l, string(in.Body))
		if err != nil {
			return nil, nil, err
		}
		t, ok := v.(*gopher.LTable)
		if !ok {
			return nil, nil, errors.New("not an object or array")
		}
		return t, nil, nil
	case "xml":
		t, err := s.decodeXML(in.Body)
		return t, nil, err
	case "encoded":
		return argsTable(s.l, string(in.Body), defaultArgs), nil, nil
	case "args":
		return argsTable(s.l, s.x.Request.Query, defaultArgs), nil, nil
	case "multipart":
		parts := s.decodeParts(in.Body, in.ContentType)
		return parts.withArrays(s.l), parts.object(s.l), nil
	}
	return s.l.NewTable(), nil, nil
}

// maxXMLDepth is how deep elements may lie within each other.
const maxXMLDepth = 256

// element is an open element.
type element struct {
	name  string
	table *gopher.LTable
}

// decodeXML makes tables as xml2lua's tree handler does, with prefixes left out of the names: an element is a table of its
// children by name, where several of the same name are an array; one that has nothing but text is that text, and _attr has its
// attributes.
func (s *state) decodeXML(body []byte) (*gopher.LTable, error) {
	s.spendBytes(s.l, 4*len(body))
	d := xml.NewDecoder(bytes.NewReader(body))
	d.CharsetReader = charset.NewReaderLabel
	root := s.l.NewTable()
	open := []element{{"", root}}
	for {
		token, err := d.RawToken()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		s.spend(s.l, 4)
		top := &open[len(open)-1]
		switch token := token.(type) {
		case xml.StartElement:
			if len(open) > maxXMLDepth {
				return nil, errors.New("elements are too deep within each other")
			}
			open = append(open, element{fullName(token.Name), s.element(token)})
		case xml.EndElement:
			if len(open) == 1 || fullName(token.Name) != top.name {
				return nil, errors.New("unmatched tag </" + fullName(token.Name) + ">")
			}
			addChild(s.l, open[len(open)-2].table, localName(top.name), reduced(top.table))
			open = open[:len(open)-1]
		case xml.CharData:
			text := strings.TrimSpace(string(token))
			switch {
			case text == "":
			case len(open) == 1:
				return nil, errors.New("text outside of the root element")
			default:
				top.table.Append(gopher.LString(text))
			}
		}
	}
	if len(open) > 1 {
		return nil, errors.New("element <" + open[len(open)-1].name + "> is not closed")
	}
	if key, _ := root.Next(gopher.LNil); key == gopher.LNil {
		return nil, errors.New("no element")
	}
	return root, nil
}

func fullName(name xml.Name) string {
	if name.Space == "" {
		return name.Local
	}
	return name.Space + ":" + name.Local
}

// localName is a name without its prefix.
func localName(name string) string { return name[strings.LastIndexByte(name, ':')+1:] }

// element is a new table with the attributes.
func (s *state) element(start xml.StartElement) *gopher.LTable {
	t := s.l.NewTable()
	if len(start.Attr) > 0 {
		attributes := s.l.NewTable()
		for _, a := range start.Attr {
			attributes.RawSetString(localName(fullName(a.Name)), gopher.LString(a.Value))
		}
		t.RawSetString("_attr", attributes)
	}
	return t
}

// reduced is what a closed element stands for.
func reduced(t *gopher.LTable) gopher.LValue {
	if key, _ := t.Next(gopher.LNil); key == gopher.LNil {
		return gopher.LString("")
	}
	if t.Len() == 1 && t.RawGetString("_attr") == gopher.LNil {
		return t.RawGetInt(1)
	}
	return t
}

// addChild sets a child, or makes it an array of all of its name.
func addChild(l *gopher.LState, t *gopher.LTable, name string, child gopher.LValue) {
	old := t.RawGetString(name)
	if old == gopher.LNil {
		t.RawSetString(name, child)
		return
	}
	if several, ok := old.(*gopher.LTable); ok && several.Metatable == gopher.LValue(arrayMeta) {
		several.Append(child)
		return
	}
	several := l.NewTable()
	several.Metatable = arrayMeta
	several.Append(old)
	several.Append(child)
	t.RawSetString(name, several)
}

// part is one field of a form.
type part struct {
	name, value string
	headers     []string
}

// parts are a multipart body that a template may change.
type parts struct {
	list     []part
	boundary string
}

// maxParts is how many parts of a body are read.
const maxParts = 1000

// decodeParts reads as much of a form as can be read.
func (s *state) decodeParts(body []byte, contentType string) *parts {
	s.spendBytes(s.l, len(body))
	p := new(parts)
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return p
	}
	p.boundary = params["boundary"]
	reader := multipart.NewReader(bytes.NewReader(body), p.boundary)
	for len(p.list) < maxParts {
		raw, err := reader.NextRawPart()
		if err != nil {
			break
		}
		value, err := io.ReadAll(raw)
		if err != nil {
			break
		}
		one := part{name: raw.FormName(), value: string(value)}
		for name, values := range raw.Header {
			for _, v := range values {
				one.headers = append(one.headers, name+": "+v)
			}
		}
		if one.name != "" {
			p.list = append(p.list, one)
		}
	}
	return p
}

// withArrays has the fields by name, those that are there several times as arrays.
func (p *parts) withArrays(l *gopher.LState) *gopher.LTable {
	t := l.NewTable()
	for i := range p.list {
		addValue(l, t, p.list[i].name, gopher.LString(p.list[i].value))
	}
	return t
}

// asArrays has all fields as arrays.
func (p *parts) asArrays(l *gopher.LState) *gopher.LTable {
	t := l.NewTable()
	for i := range p.list {
		values, ok := t.RawGetString(p.list[i].name).(*gopher.LTable)
		if !ok {
			values = l.NewTable()
			t.RawSetString(p.list[i].name, values)
		}
		values.Append(gopher.LString(p.list[i].value))
	}
	return t
}

// object is _multipart: the methods of lua-multipart.
func (p *parts) object(l *gopher.LState) *gopher.LTable {
	t := l.NewTable()
	for name, f := range (functions{
		"get": p.get, "set_simple": p.setSimple, "delete": p.delete, "tostring": p.tostring,
		"get_all": func(l *gopher.LState) int {
			all := l.NewTable()
			for i := range p.list {
				all.RawSetString(p.list[i].name, gopher.LString(p.list[i].value))
			}
			l.Push(all)
			return 1
		},
		"get_as_array": func(l *gopher.LState) int {
			values := p.asArrays(l).RawGetString(l.CheckString(2))
			if values == gopher.LNil {
				values = l.NewTable()
			}
			l.Push(values)
			return 1
		},
		"get_all_as_arrays": func(l *gopher.LState) int {
			l.Push(p.asArrays(l))
			return 1
		},
		"get_all_with_arrays": func(l *gopher.LState) int {
			l.Push(p.withArrays(l))
			return 1
		},
	}) {
		t.RawSetString(name, l.NewFunction(f))
	}
	return t
}

// get returns the first part of a name as a table.
func (p *parts) get(l *gopher.LState) int {
	for i := range p.list {
		if p.list[i].name != l.CheckString(2) {
			continue
		}
		t, headers := l.NewTable(), l.NewTable()
		for _, line := range p.list[i].headers {
			headers.Append(gopher.LString(line))
		}
		t.RawSetString("name", gopher.LString(p.list[i].name))
		t.RawSetString("value", gopher.LString(p.list[i].value))
		t.RawSetString("headers", headers)
		l.Push(t)
		return 1
	}
	return nilResult(l)
}

// setSimple gives a field one value.
func (p *parts) setSimple(l *gopher.LState) int {
	name, value := l.CheckString(2), toText(l, l.CheckAny(3))
	disposition := `Content-Disposition: form-data; name="` + quoteParameter(name) + `"`
	if filename := l.OptString(4, ""); filename != "" {
		disposition += `; filename="` + quoteParameter(filename) + `"`
	}
	headers := []string{disposition}
	if kind := l.OptString(5, ""); kind != "" {
		headers = append(headers, "Content-Type: "+fieldValue(kind))
	}
	set := part{name, value, headers}
	for i := range p.list {
		if p.list[i].name == name {
			p.list[i] = set
			return 0
		}
	}
	p.list = append(p.list, set)
	return 0
}

// quoteParameter keeps a name from ending its quotes or its line.
func quoteParameter(text string) string {
	return strings.NewReplacer(`"`, "%22", "\r", "%0D", "\n", "%0A").Replace(text)
}

func (p *parts) delete(l *gopher.LState) int {
	name := l.CheckString(2)
	kept := p.list[:0]
	for _, one := range p.list {
		if one.name != name {
			kept = append(kept, one)
		}
	}
	p.list = kept
	return 0
}

// tostring writes the body.
func (p *parts) tostring(l *gopher.LState) int {
	if len(p.list) == 0 || p.boundary == "" {
		return push(l, "")
	}
	var b strings.Builder
	for _, one := range p.list {
		b.WriteString("--" + p.boundary + "\r\n")
		for _, line := range one.headers {
			b.WriteString(line + "\r\n")
		}
		b.WriteString("\r\n" + one.value + "\r\n")
	}
	b.WriteString("--" + p.boundary + "--\r\n")
	return push(l, b.String())
}
