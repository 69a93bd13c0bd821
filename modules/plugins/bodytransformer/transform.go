// SPDX-License-Identifier: Apache-2.0

package bodytransformer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lua"
)

type transformConfig struct {
	Format   string `json:"input_format"`
	Template string `json:"template"`
	Base64   bool   `json:"template_is_base64"`
}

// transform makes one kind of body.
type transform struct {
	// what is request or response, for errors.
	what, format string
	// plain is the template as it was given, decoded the one that it has in base64. They are the same when it is in no base64.
	plain, decoded variant
	isBase64       bool
}

// variant is a template, or why it is none.
type variant struct {
	template *lua.Template
	err      error
}

// compile compiles what the template may be: whether it is read as base64 depends on the format, which requests may decide.
// The config is refused when none of it compiles.
func (c *transformConfig) compile(what string, log func() *zap.Logger) (*transform, error) {
	load := func(view string) (v variant) {
		if v.template, v.err = lua.LoadTemplate(view, log); v.err != nil {
			v.err = fmt.Errorf("%s template compile: %w", what, v.err)
		}
		return v
	}
	t := &transform{what: what, format: c.Format, isBase64: c.Base64}
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(c.Template, "="))
	if err != nil {
		t.plain = load(c.Template)
		t.decoded = t.plain
		return t, t.plain.err
	}
	t.decoded = load(string(decoded))
	if c.Base64 {
		t.plain = t.decoded
		return t, t.decoded.err
	}
	if t.plain = load(c.Template); t.plain.err != nil && t.decoded.err != nil {
		return nil, t.plain.err
	}
	return t, nil
}

// render makes a new body. A body that is nil, where there is nothing else to decode, is as good as one without members.
func (t *transform) render(x *gateway.Exchange, phase lua.Phase, limits lua.Limits, in lua.Input) ([]byte, error) {
	format := in.Format
	if in.Body == nil && (phase != lua.Rewrite || x.Request.Method != http.MethodGet) {
		in.Format = ""
	}
	v := t.plain
	if t.isBase64 || format != "" && format != "encoded" && format != "args" {
		v = t.decoded
	}
	if v.err != nil {
		return nil, v.err
	}
	out, err := v.template.Render(x, phase, limits, in)
	if err == nil {
		return out, nil
	}
	if errors.As(err, new(*lua.DecodeError)) {
		return nil, &lua.DecodeError{Err: fmt.Errorf("%s body decode: %w", t.what, err)}
	}
	return nil, fmt.Errorf("%s template rendering: %w", t.what, err)
}

// formatOf tells the format of a body from its content type; "" is unknown.
func formatOf(contentType string) string {
	lower := strings.ToLower(contentType)
	switch {
	case strings.Contains(lower, "text/xml"):
		return "xml"
	case strings.Contains(lower, "application/json"):
		return "json"
	case strings.Contains(lower, "application/x-www-form-urlencoded"):
		return "encoded"
	case strings.Contains(lower, "multipart/"):
		return "multipart"
	}
	return ""
}
