// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

// checkProto checks the content of a proto object: a FileDescriptorSet in base64 in full, source for its outline only.
// What is inside of messages and services is for a protobuf compiler to judge.
func checkProto(object map[string]any) error {
	content, _ := object["content"].(string)
	if isReference(content) {
		return nil
	}
	if binary, err := base64.StdEncoding.DecodeString(content); err == nil {
		return checkDescriptors(binary)
	}
	if err := checkSource(content); err != nil {
		return refuse("invalid content: %s", err)
	}
	return nil
}

func checkDescriptors(binary []byte) error {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(binary, &set); err != nil {
		return refuse("invalid content: no FileDescriptorSet: %s", err)
	}
	if len(set.File) == 0 {
		return refuse("invalid content: the FileDescriptorSet is empty")
	}
	if _, err := (protodesc.FileOptions{AllowUnresolvable: true}).NewFiles(&set); err != nil {
		return refuse("invalid content: %s", err)
	}
	return nil
}

// declarations are the words that may begin a statement at the top of a .proto file.
var declarations = []string{"syntax", "edition", "package", "import", "option", "message", "enum", "service", "extend"}

// checkSource checks the outline of protobuf source: strings and comments end, brackets match, every statement at the
// top begins with a word that may stand there and ends, and imports are of files that come with protobuf.
func checkSource(source string) error {
	l := &lexer{source: source, line: 1}
	var open, statement []string
	for {
		token, err := l.next()
		switch {
		case err != nil:
			return err
		case token == "" && len(open) > 0:
			return fmt.Errorf("line %d: '%s' is not closed", l.line, open[len(open)-1])
		case token == "" && len(statement) > 0:
			return fmt.Errorf("line %d: ';' expected near '<eof>'", l.line)
		case token == "":
			return nil
		case len(statement) == 0 && token == ";":
			continue
		case len(statement) == 0 && !slices.Contains(declarations, token):
			return fmt.Errorf("line %d: unexpected '%s'", l.line, token)
		}
		statement = append(statement, token)
		switch token {
		case "{", "[", "(", "<":
			open = append(open, token)
		case "}", "]", ")", ">":
			if len(open) == 0 || brackets[open[len(open)-1]] != token {
				return fmt.Errorf("line %d: unexpected '%s'", l.line, token)
			}
			open = open[:len(open)-1]
		}
		if len(open) > 0 || token != ";" && token != "}" {
			continue
		}
		if token == "}" && statement[0] == "option" {
			continue // an aggregate value; its ';' follows
		}
		if err := checkImport(statement); err != nil {
			return fmt.Errorf("line %d: %w", l.line, err)
		}
		statement = statement[:0]
	}
}

var brackets = map[string]string{"{": "}", "[": "]", "(": ")", "<": ">"}

func checkImport(statement []string) error {
	if statement[0] != "import" {
		return nil
	}
	path := statement[len(statement)-2]
	if len(path) < 2 || path[0] != '"' && path[0] != '\'' {
		return errors.New("a file name is expected after 'import'")
	}
	if path = path[1 : len(path)-1]; !strings.HasPrefix(path, "google/protobuf/") {
		return fmt.Errorf("module '%s' not found", path)
	}
	return nil
}

// lexer splits protobuf source into words, strings (in their quotes) and single characters.
type lexer struct {
	source string
	line   int
}

// next returns the next token, or "" at the end.
func (l *lexer) next() (string, error) {
	if err := l.skip(); err != nil {
		return "", err
	}
	s := l.source
	if s == "" {
		return "", nil
	}
	end := 1
	switch c := s[0]; {
	case c == '"' || c == '\'':
		for end < len(s) && s[end] != c && s[end] != '\n' {
			if s[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(s) || s[end] != c {
			return "", fmt.Errorf("line %d: unfinished string", l.line)
		}
		end++
	case isWord(c):
		for end < len(s) && isWord(s[end]) {
			end++
		}
	case !strings.ContainsRune("{}[]()<>;=,:-+/", rune(c)):
		return "", fmt.Errorf("line %d: unexpected character %q", l.line, c)
	}
	l.source = s[end:]
	return s[:end], nil
}

// skip leaves out white space and comments.
func (l *lexer) skip() error {
	for l.source != "" {
		switch s := l.source; {
		case strings.HasPrefix(s, "//"):
			_, rest, _ := strings.Cut(s, "\n")
			l.source, l.line = rest, l.line+1
		case strings.HasPrefix(s, "/*"):
			comment, rest, ok := strings.Cut(s[2:], "*/")
			if !ok {
				return fmt.Errorf("line %d: unfinished comment", l.line)
			}
			l.source, l.line = rest, l.line+strings.Count(comment, "\n")
		case s[0] == '\n':
			l.source, l.line = s[1:], l.line+1
		case strings.IndexByte(" \t\r\v\f", s[0]) >= 0:
			l.source = s[1:]
		default:
			return nil
		}
	}
	return nil
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '.'
}
