// SPDX-License-Identifier: Apache-2.0

package authzcasbin

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/casbin/casbin/v3"
	"github.com/casbin/casbin/v3/model"
	"github.com/casbin/casbin/v3/persist"
	"github.com/casbin/casbin/v3/rbac"
)

// policy is a model with its rules, compiled. Configs with equal texts share one. It is safe for concurrent use.
type policy struct {
	memory
	model model.Model
	// roles are the role managers of the model's role definitions, which all enforcers share.
	roles map[string]rbac.RoleManager
	// budget is how many questions one enforcer is asked.
	budget int64
	// slow says that an answer may take longer than an event loop has time.
	slow    bool
	current atomic.Pointer[enforcer]
}

// enforcer is Casbin's with the number of questions that it may still be asked. Casbin remembers which user has which role
// for as long as there is the enforcer, also for users that exist nowhere but in a request.
type enforcer struct {
	*casbin.Enforcer
	left atomic.Int64
}

const (
	// maxRoleMemory is about how many pairs of user and role an enforcer remembers before it makes way.
	maxRoleMemory = 1 << 16
	// fewRules are evaluated where the question comes up.
	fewRules = 32
)

// compiled has the policies in use, by the hashes of model and rules.
var compiled = struct {
	sync.Mutex
	known map[policyKey]weak.Pointer[policy]
}{known: make(map[policyKey]weak.Pointer[policy])}

type policyKey struct{ model, rules [sha256.Size]byte }

// policyFor returns the policy with these texts.
func policyFor(modelText, rules string) (*policy, error) {
	key := policyKey{sha256.Sum256([]byte(modelText)), sha256.Sum256([]byte(rules))}
	compiled.Lock()
	defer compiled.Unlock()
	if known := compiled.known[key].Value(); known != nil {
		return known, nil
	}
	for old, pointer := range compiled.known {
		if pointer.Value() == nil {
			delete(compiled.known, old)
		}
	}
	made, err := newPolicy(modelText, rules)
	if err != nil {
		return nil, err
	}
	compiled.known[key] = weak.Make(made)
	return made, nil
}

// errModel and errRules say what is wrong with a text. What they wrap may quote it.
var (
	errModel = errors.New("is no Casbin model")
	errRules = errors.New("is no Casbin policy for the model")
)

func newPolicy(modelText, rules string) (p *policy, err error) {
	// Casbin indexes and asserts its way through what it is given.
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("property \"model\" validation failed: %w: %v", errModel, r)
		}
	}()
	m, err := model.NewModelFromString(modelText)
	if err == nil {
		err = checkModel(m)
	}
	if err != nil {
		return nil, fmt.Errorf("property \"model\" validation failed: %w: %w", errModel, err)
	}
	loaded, err := casbin.NewEnforcer(m, ruleText(rules))
	if err != nil {
		return nil, fmt.Errorf("property \"policy\" validation failed: %w: %w", errRules, err)
	}
	p = &policy{memory: newMemory(), model: loaded.GetModel(), roles: make(map[string]rbac.RoleManager)}
	for kind, definition := range p.model["g"] {
		p.roles[kind] = definition.RM
	}
	count := 0
	for _, definition := range p.model["p"] {
		count += len(definition.Policy)
	}
	p.budget, p.slow = max(1, maxRoleMemory/int64(count+1)), count > fewRules
	p.current.Store(p.enforcer())
	if _, err := p.current.Load().Enforce(anonymous, "/", "GET"); err != nil {
		return nil, fmt.Errorf("property \"model\" validation failed: %w: %w", errModel, firstLine(err))
	}
	return p, nil
}

// checkModel refuses what only a program around Casbin could make complete, and what is not asked about.
func checkModel(m model.Model) error {
	if got := len(m["r"]["r"].Tokens); got != 3 {
		return fmt.Errorf("request_definition has %d fields, want 3: user, path and method", got)
	}
	for kind, definition := range m["g"] {
		if len(definition.ParamsTokens) > 0 {
			return fmt.Errorf("role_definition: %s has conditions, which are not supported", kind)
		}
	}
	return nil
}

// enforcer makes an enforcer over the policy's rules and roles. It costs little, whatever their number.
func (p *policy) enforcer() *enforcer {
	shared := make(model.Model, len(p.model))
	for section, definitions := range p.model {
		shared[section] = definitions
	}
	if len(p.roles) > 0 {
		// An enforcer gives each role definition a role manager of its own to begin with.
		shared["g"] = make(model.AssertionMap, len(p.roles))
		for kind, definition := range p.model["g"] {
			shared["g"][kind] = &model.Assertion{Key: kind, Value: definition.Value, Tokens: definition.Tokens}
		}
	}
	e := &enforcer{Enforcer: new(casbin.Enforcer)}
	e.SetModel(shared)
	for kind, roles := range p.roles {
		shared["g"][kind].RM = roles
	}
	e.left.Store(p.budget)
	return e
}

// decide asks Casbin, and remembers the answer. An error refuses.
func (p *policy) decide(asked question) (allowed bool, err error) {
	asked = asked.clone()
	e := p.current.Load()
	if e.left.Add(-1) == 0 {
		p.current.CompareAndSwap(e, p.enforcer())
	}
	if allowed, err = e.Enforce(asked.user, asked.path, asked.method); err != nil {
		return false, firstLine(err)
	}
	p.remember(asked, allowed)
	return allowed, nil
}

// firstLine returns an error without the stack that Casbin adds to some.
func firstLine(err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(line)
}

// ruleText gives Casbin rules from a text. Unlike Casbin's own it leaves out no line: one that is left out could have been
// a refusal.
type ruleText string

// LoadPolicy implements persist.Adapter.
func (t ruleText) LoadPolicy(m model.Model) error {
	number := 0
	for line := range strings.Lines(string(t)) {
		number++
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, ",") {
			return fmt.Errorf("line %d: a rule begins with its kind, such as p", number)
		}
		if err := persist.LoadPolicyLine(line, m); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return nil
}

var errReadOnly = errors.New("rules are changed in the config")

// SavePolicy implements persist.Adapter.
func (ruleText) SavePolicy(model.Model) error { return errReadOnly }

// AddPolicy implements persist.Adapter.
func (ruleText) AddPolicy(string, string, []string) error { return errReadOnly }

// RemovePolicy implements persist.Adapter.
func (ruleText) RemovePolicy(string, string, []string) error { return errReadOnly }

// RemoveFilteredPolicy implements persist.Adapter.
func (ruleText) RemoveFilteredPolicy(string, string, int, ...string) error { return errReadOnly }

// maxFile bounds a model or policy in a file.
const maxFile = 16 << 20

// policyInFiles is policyFor for texts in files. Its errors quote nothing of what is in them: a path may name any file.
func policyInFiles(modelPath, rulesPath string) (*policy, error) {
	modelText, err := readFile("model_path", modelPath)
	if err != nil {
		return nil, err
	}
	rules, err := readFile("policy_path", rulesPath)
	if err != nil {
		return nil, err
	}
	p, err := policyFor(modelText, rules)
	switch {
	case errors.Is(err, errRules):
		return nil, fmt.Errorf("property \"policy_path\" validation failed: %s %w", rulesPath, errRules)
	case err != nil:
		return nil, fmt.Errorf("property \"model_path\" validation failed: %s %w", modelPath, errModel)
	}
	return p, nil
}

func readFile(property, path string) (string, error) {
	refuse := func(err error) (string, error) {
		return "", fmt.Errorf("property %q validation failed: %w", property, err)
	}
	// A pipe would be waited for.
	if found, err := os.Stat(path); err != nil {
		return refuse(err)
	} else if !found.Mode().IsRegular() {
		return refuse(fmt.Errorf("%s is no regular file", path))
	}
	file, err := os.Open(path)
	if err != nil {
		return refuse(err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return refuse(err)
	case len(text) > maxFile:
		return refuse(fmt.Errorf("%s is larger than %d bytes", path, maxFile))
	}
	return string(text), nil
}

var _ persist.Adapter = ruleText("")
