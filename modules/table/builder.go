// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"slices"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/secret"
)

// builder turns a copy of one table, or an empty one, into the next. It belongs to one goroutine.
type builder struct {
	t *Table
	// prior is where versions before are found; nil is nowhere.
	prior  *Table
	reader pluginReader
	// streamReader is the one for stream routes.
	streamReader pluginReader
	// conditions finds those that were compiled before by their text; nil remembers nothing.
	conditions map[string]*conditions

	// changed lists the entries that are new, by kind; dirty what has to be compiled again because what it is made of
	// has changed.
	changed [kindCount][]*entry
	dirty   [kindCount]map[string]bool
	// globalsChanged says that the chain of the global rules is stale.
	globalsChanged bool
	// streamsChanged says that the index of the stream routes is stale.
	streamsChanged bool

	// faults are the objects that cannot be served, refusals the same for changed objects alone.
	faults, refusals []error
}

func newBuilder(t, prior *Table) *builder {
	b := &builder{t: t, prior: prior}
	b.reader.compiler, b.reader.builder = t.compiler, b
	b.reader.hasMetadata = func(plugin string) bool { return b.t.objects[kindMetadata].get(plugin) != nil }
	b.streamReader = pluginReader{compiler: t.compiler, builder: b, stream: true}
	return b
}

// put stores an object. It is compiled by build.
func (b *builder) put(o gateway.Object) {
	kind, ok := kindIndex(o.Kind)
	if !ok {
		b.refuse(&entry{Object: o}, fmt.Errorf("unknown kind of object %q", o.Kind))
		return
	}
	if old := b.t.objects[kind].get(o.ID); old != nil {
		b.retire(kind, old)
	}
	e := &entry{Object: o}
	b.t.objects[kind] = b.t.objects[kind].with(o.ID, e)
	b.changed[kind] = append(b.changed[kind], e)
	b.noteReferences(kind, &e.Object)
}

// noteReferences enters an object among those that refer to secrets. The settings of secret managers are not among them.
func (b *builder) noteReferences(kind int, o *gateway.Object) {
	if kind != kindSecrets && secret.MayRefer(o.Value) {
		b.t.referring = b.t.referring.with(o.Key(), o)
	}
}

func (b *builder) remove(of gateway.Kind, id string) {
	kind, ok := kindIndex(of)
	if !ok {
		return
	}
	old := b.t.objects[kind].get(id)
	if old == nil {
		return
	}
	b.retire(kind, old)
	b.t.checked = b.t.checked.without(old.Key())
	b.t.objects[kind] = b.t.objects[kind].without(id)
	b.markDependents(kind, id)
}

// retire takes what was compiled of an entry out of every index. Entries that build has not come to have nothing there.
func (b *builder) retire(kind int, e *entry) {
	if b.t.referring != nil {
		b.t.referring = b.t.referring.without(e.Key())
	}
	if b.t.presenting != nil {
		b.t.presenting = b.t.presenting.without(e.Key())
	}
	if b.t.discovering != nil {
		b.t.discovering = b.t.discovering.without(e.Key())
	}
	if b.t.borrowing != nil {
		b.t.borrowing = b.t.borrowing.without(e.Key())
	}
	if kind == kindUpstreams {
		b.t.upstreams = b.t.upstreams.without(e.ID)
	}
	switch value := e.compiled.(type) {
	case *rule:
		b.retireRule(value)
	case *streamRule:
		b.retireStream(value)
	case *consumer:
		b.retireConsumer(e, value)
	case *credential:
		b.dropCredential(value, e.Key())
	case *gateway.SSL:
		b.t.ssls = b.t.ssls.without(value)
	case *pluginSet:
		b.globalsChanged = b.globalsChanged || kind == kindGlobals
	}
}

// build compiles what changed and what depends on it: what is referred to comes first.
func (b *builder) build() {
	for kind := range kindCount {
		for _, e := range b.changed[kind] {
			if b.t.objects[kind].get(e.ID) != e {
				continue // a later change of the same batch took its place
			}
			if err := b.compile(kind, e, b.before(kind, e.ID)); err != nil {
				b.refuse(e, err)
			}
			b.markDependents(kind, e.ID)
			delete(b.dirty[kind], e.ID)
		}
		for id := range b.dirty[kind] {
			b.recompile(kind, id)
		}
	}
	if b.globalsChanged {
		b.buildGlobals()
	}
	if b.streamsChanged {
		b.t.streams = newStreamIndex(b.t.objects[kindStreams])
	}
}

// before returns the version of an object in the prior table.
func (b *builder) before(kind int, id string) *entry {
	if b.prior == nil {
		return nil
	}
	return b.prior.objects[kind].get(id)
}

// recompile makes an object anew whose text has not changed.
func (b *builder) recompile(kind int, id string) {
	old := b.t.objects[kind].get(id)
	if old == nil {
		return
	}
	b.retire(kind, old)
	e := &entry{Object: old.Object}
	b.t.objects[kind] = b.t.objects[kind].with(id, e)
	b.noteReferences(kind, &e.Object)
	// The object could not be served before, or its references decide: neither is this write's fault.
	if err := b.compile(kind, e, old); err != nil {
		b.faults = append(b.faults, fmt.Errorf("%s: %w", e.Key(), err))
	}
	b.markDependents(kind, id)
}

// refuse notes that a changed object cannot be served.
func (b *builder) refuse(e *entry, err error) {
	b.refusals = append(b.refusals, refusal(err))
	b.faults = append(b.faults, fmt.Errorf("%s: %w", e.Key(), err))
}

// markDependents makes dirty whatever refers to an object.
func (b *builder) markDependents(kind int, id string) {
	switch kind {
	case kindProtos:
		b.markBorrowers(id)
	case kindSSLs:
		b.t.presenting.each(func(p *presenter) bool {
			if user, ok := kindIndex(p.object.Kind); ok && slices.Contains(p.ssls, id) {
				b.markOne(user, p.object.ID)
			}
			return true
		})
	case kindServices:
		b.mark(kindRoutes, b.t.serviceRoutes.under(idPair(id, "")))
		b.mark(kindStreams, b.t.serviceStreams.under(idPair(id, "")))
	case kindConfigs:
		b.mark(kindRoutes, b.t.configRoutes.under(idPair(id, "")))
	case kindGroups:
		b.mark(kindConsumers, b.t.groupConsumers.under(idPair(id, "")))
	case kindConsumers:
		b.t.objects[kindCredentials].under(gateway.CredentialID(id, "")).each(func(e *entry) bool {
			b.markOne(kindCredentials, e.ID)
			return true
		})
	}
}

func (b *builder) mark(kind int, ids *tree[string]) {
	ids.each(func(id *string) bool {
		b.markOne(kind, *id)
		return true
	})
}

func (b *builder) markOne(kind int, id string) {
	if b.dirty[kind] == nil {
		b.dirty[kind] = make(map[string]bool)
	}
	b.dirty[kind][id] = true
}

// compile sets e.compiled and enters it in the indexes. old is the version before, or nil. After an error e is served as
// far as that is safe.
func (b *builder) compile(kind int, e, old *entry) (err error) {
	switch kind {
	case kindProtos:
		err = b.compileProto(e, old)
	case kindSSLs:
		err = b.compileSSL(e, old)
	case kindMetadata:
		e.compiled, err = b.t.compiler.compileMetadata(e.Object)
	case kindUpstreams:
		err = b.compileUpstream(e, old)
	case kindConfigs, kindGroups, kindGlobals:
		err = b.compilePluginSet(kind, e, old)
	case kindServices:
		err = b.compileService(e, old)
	case kindConsumers:
		err = b.compileConsumer(e, old)
	case kindCredentials:
		err = b.compileCredential(e)
	case kindRoutes:
		err = b.compileRoute(e, old)
	case kindStreams:
		err = b.compileStream(e, old)
	}
	b.enterChecks(e)
	return err
}

// enterChecks enters the upstream that e declares, when it serves and has Health. Most have none, and then nothing changes.
func (b *builder) enterChecks(e *entry) {
	var declared *gateway.Upstream
	switch value := e.compiled.(type) {
	case *gateway.Upstream:
		declared = value
	case *service:
		declared = value.upstream
	case *rule:
		// A route without an upstream of its own has its service's.
		if u := value.route.Upstream; u != nil && u.Key == e.Key() && !value.off {
			declared = u
		}
	case *streamRule:
		if u := value.route.Upstream; u != nil && u.Key == e.Key() && !value.off {
			declared = u
		}
	}
	switch {
	case declared == nil || declared.Health == nil || declared.Fault != 0:
		if b.t.checked != nil {
			b.t.checked = b.t.checked.without(e.Key())
		}
	case b.t.checked.get(e.Key()) != declared:
		b.t.checked = b.t.checked.with(e.Key(), declared)
	}
}
