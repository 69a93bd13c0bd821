// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Reference is where a secret is kept: "$secret://vault/1/jack/key" in the manager that the object vault/1 describes,
// "$env://NAME" or "$env://NAME/member" in the environment of the process.
type Reference struct {
	// Manager is vault, aws or gcp, and ID that of its object; both are empty for the environment.
	Manager, ID string
	// Name is the variable, or where the manager keeps the secret.
	Name string
	// Member picks one member of a secret that is a JSON object; empty is the whole text. Vault keeps nothing but
	// objects.
	Member string
}

// ParseReference reads a text for which [IsReference] holds.
func ParseReference(text string) (Reference, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	if strings.EqualFold(scheme, "$env") {
		name, member, _ := strings.Cut(rest, "/")
		if name == "" {
			return Reference{}, fmt.Errorf("%s: no variable is named", text)
		}
		return Reference{Name: name, Member: member}, nil
	}
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) < 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return Reference{}, fmt.Errorf("%s: want $secret://manager/id/name/key", text)
	}
	r := Reference{Manager: parts[0], ID: parts[1]}
	split := strings.Index(parts[2], "/")
	switch r.Manager {
	case "vault":
		split = strings.LastIndex(parts[2], "/")
	case "aws", "gcp":
	default:
		return Reference{}, fmt.Errorf("%s: unknown secret manager %q: vault, aws or gcp are expected", text, r.Manager)
	}
	if r.Name = parts[2]; split >= 0 {
		r.Name, r.Member = parts[2][:split], parts[2][split+1:]
	}
	if r.Name == "" || r.Manager == "vault" && r.Member == "" {
		return Reference{}, fmt.Errorf("%s: want $secret://manager/id/name/key", text)
	}
	return r, nil
}

// References lists the references in a JSON document, each once.
func References(doc json.RawMessage) []string {
	var found []string
	seen := make(map[string]bool)
	eachReference(doc, func(text string) string {
		if !seen[text] {
			seen[text] = true
			found = append(found, text)
		}
		return text
	})
	return found
}

// eachReference replaces the references in a document.
func eachReference(doc json.RawMessage, replace func(string) string) json.RawMessage {
	if !MayRefer(doc) {
		return doc
	}
	return mapFields(doc, []Path{{}}, func(text string) string {
		if !IsReference(text) {
			return text
		}
		return replace(text)
	})
}

// MayRefer is a quick look at whether there can be a reference in a JSON document.
func MayRefer(doc json.RawMessage) bool {
	for rest := []byte(doc); ; {
		i := bytes.IndexAny(rest, `$\`)
		if i < 0 {
			return false
		}
		rest = rest[i:]
		// An escape could hide the sign.
		if bytes.HasPrefix(rest, []byte(`\u0024`)) || bytes.HasPrefix(rest, []byte("$secret:")) ||
			len(rest) >= len("$env:") && strings.EqualFold(string(rest[:len("$env:")]), "$env:") {
			return true
		}
		rest = rest[1:]
	}
}

var errNoMember = errors.New("the secret has no such member, or it is no text")

// member picks what the reference asks for out of a secret.
func (r Reference) member(whole string) (string, error) {
	if r.Member == "" {
		return whole, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(whole), &object); err != nil {
		return "", errors.New("the secret is no JSON object")
	}
	return textOf(object[r.Member])
}

// textOf returns the text of a JSON string, or a number or boolean as it is written.
func textOf(value json.RawMessage) (string, error) {
	var text string
	switch {
	case len(value) == 0:
		return "", errNoMember
	case value[0] == '"':
		return text, json.Unmarshal(value, &text)
	case value[0] == '{', value[0] == '[', value[0] == 'n':
		return "", errNoMember
	}
	return string(value), nil
}

// environment resolves a reference to a variable.
func (r Reference) environment() (string, bool) {
	whole, ok := os.LookupEnv(r.Name)
	if !ok {
		return "", false
	}
	text, err := r.member(whole)
	return text, err == nil
}

// expand resolves a setting of a secret manager, which may itself be kept in the environment: a token, a key.
func expand(setting string) (string, error) {
	if !IsReference(setting) {
		return setting, nil
	}
	r, err := ParseReference(setting)
	if err != nil {
		return "", err
	}
	if r.Manager != "" {
		return "", fmt.Errorf("%s: the settings of a secret manager can be kept in the environment alone", setting)
	}
	text, ok := r.environment()
	if !ok {
		return "", fmt.Errorf("%s: the environment has no such variable", setting)
	}
	return text, nil
}
