// SPDX-License-Identifier: Apache-2.0

package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/protos"
	"github.com/andogate/ando/modules/secret"
	"github.com/andogate/ando/modules/upstream"
)

// compileProto compiles a proto object to a *protos.Files. Without a change of its text they stay the same.
func (b *builder) compileProto(e, old *entry) error {
	if before, ok := priorOf[*protos.Files](old); ok && bytes.Equal(old.Value, e.Value) && !secret.MayRefer(e.Value) {
		e.compiled = before
		return nil
	}
	files, err := b.t.compiler.readProto(e.Value)
	if err != nil {
		return err
	}
	e.compiled = files
	return nil
}

// checkProto is compileProto's judgement. What a reference stands for may not be known yet.
func (c *Compiler) checkProto(o gateway.Object) error {
	if secret.MayRefer(o.Value) {
		return nil
	}
	_, err := c.readProto(o.Value)
	return err
}

func (c *Compiler) readProto(value json.RawMessage) (*protos.Files, error) {
	value, unknown := c.Secrets.Substitute(value)
	if len(unknown) > 0 {
		return nil, errors.New(unresolved(unknown))
	}
	var object struct {
		Content string `json:"content"`
	}
	if err := json.Unmarshal(value, &object); err != nil {
		return nil, err
	}
	return protos.Compile(object.Content)
}

// borrower is an object of which some plugin configs rest on others.
type borrower struct {
	object gateway.Kind
	id     string
	loans  []loan
}

// loan is one plugin's config that rests on the proto object with an id, which need not exist. Without an id it is one with an
// upstream that rests on something.
type loan struct{ plugin, proto string }

// env is what a plugin gets for its config in the object with the key owner. What it asks for is noted, so that the object
// is compiled again when that changes.
func (r *pluginReader) env(owner, plugin string) gateway.Env {
	env := gateway.Env{Owner: owner, Log: r.compiler.log}
	if b := r.builder; b != nil {
		env.Protos = func(id string) any {
			b.borrow(owner, loan{plugin, id})
			if files, ok := compiled[*protos.Files](b.t, kindProtos, id); ok {
				return files
			}
			return nil
		}
		scheme := ""
		if r.stream {
			scheme = streamScheme
		}
		env.Upstreams = func(key string, config json.RawMessage, prior *gateway.Upstream) (*gateway.Upstream, error) {
			around := b.surroundings(owner, scheme, func() { b.borrow(owner, loan{plugin: plugin}) })
			return upstream.Compile(key, config, prior, around)
		}
	}
	return env
}

func (b *builder) borrow(owner string, l loan) {
	kind, id, ok := gateway.ParseKey(owner)
	if !ok {
		return
	}
	noted := borrower{object: kind, id: id}
	if before := b.t.borrowing.get(owner); before != nil {
		noted.loans = slices.Clip(before.loans)
	}
	noted.loans = append(noted.loans, l)
	b.t.borrowing = b.t.borrowing.with(owner, &noted)
}

// borrowed reports whether the config of a plugin rested on something else when it was compiled for the table before.
func (r *pluginReader) borrowed(owner, plugin string) bool {
	if r.builder == nil || r.builder.prior == nil {
		return false
	}
	b := r.builder.prior.borrowing.get(owner)
	return b != nil && slices.ContainsFunc(b.loans, func(l loan) bool { return l.plugin == plugin })
}

// markBorrowers makes dirty what rests on a proto object.
func (b *builder) markBorrowers(proto string) {
	b.t.borrowing.each(func(user *borrower) bool {
		if kind, ok := kindIndex(user.object); ok && slices.ContainsFunc(user.loans, func(l loan) bool { return l.proto == proto }) {
			b.markOne(kind, user.id)
		}
		return true
	})
}
