// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// facts are what was found out about the content of one request. They hang on its exchange until the body changes.
type facts struct {
	json      any
	jsonKnown bool

	fields      map[string]string
	fieldsKnown bool

	graphql graphqlFacts
}

func factsOf(x *gateway.Exchange) *facts {
	slot := x.BodyFacts()
	f, ok := (*slot).(*facts)
	if !ok {
		f = new(facts)
		*slot = f
	}
	return f
}

// mediaType returns the request's content type in lower case without parameters, and the field as it came.
func mediaType(x *gateway.Exchange) (media, full string) {
	full = x.Request.Header.Get("Content-Type")
	media, _, _ = strings.Cut(full, ";")
	return strings.ToLower(strings.TrimSpace(media)), full
}

const (
	mediaForm      = "application/x-www-form-urlencoded"
	mediaJSON      = "application/json"
	mediaMultipart = "multipart/form-data"
)

// postArgument is post_arg_NAME: the first field of that name of an urlencoded form.
func postArgument(name string) variable {
	return variable{readsBody: true, text: func(x *gateway.Exchange) (string, bool) {
		body, ok := x.BodyBuffered()
		if media, _ := mediaType(x); !ok || media != mediaForm {
			return "", false
		}
		return formField(body, name)
	}}
}

// postPath is post_arg.PATH: a path into JSON, or the name of a field of a form.
func postPath(path string) variable {
	steps, err := parsePath(path)
	if err != nil {
		return variable{readsBody: true, err: fmt.Errorf("%w: variable post_arg.%s: %w", errExpression, path, err)}
	}
	return variable{readsBody: true, value: func(x *gateway.Exchange) value {
		body, ok := x.BodyBuffered()
		if !ok {
			return value{}
		}
		var text string
		switch media, full := mediaType(x); media {
		case mediaJSON:
			return steps.find(factsOf(x).decoded(body))
		case mediaForm:
			text, ok = formField(body, path)
		case mediaMultipart:
			text, ok = factsOf(x).parts(body, full)[path]
		default:
			return value{}
		}
		if !ok {
			return value{}
		}
		return value{kind: isText, text: text}
	}}
}

// formField reads a form as the query it is written like.
func formField(body []byte, name string) (string, bool) {
	form := gateway.Request{Query: string(body)}
	text, count := form.Arg(name)
	return text, count > 0
}

// decoded returns the JSON in body, nil when it is none.
func (f *facts) decoded(body []byte) any {
	if !f.jsonKnown {
		f.json, _ = decodeJSON(body)
		f.jsonKnown = true
	}
	return f.json
}

// parts returns the fields of a multipart form, the first of each name; files are none. What comes before an error counts.
func (f *facts) parts(body []byte, contentType string) map[string]string {
	if f.fieldsKnown {
		return f.fields
	}
	f.fieldsKnown = true
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return nil
	}
	f.fields = make(map[string]string)
	reader := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		part, err := reader.NextPart()
		if err != nil {
			return f.fields
		}
		name := part.FormName()
		if _, seen := f.fields[name]; seen || name == "" || part.FileName() != "" {
			continue
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return f.fields
		}
		f.fields[name] = string(text)
	}
}
