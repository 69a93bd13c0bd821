// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// State is the document that a gateway serves, with its versions: what APISIX calls API-driven standalone. It is kept in
// memory, as is what the gateway's store should keep. It is safe for concurrent use; the zero value is an empty document.
type State struct {
	// replacing is held by the one who replaces the document.
	replacing sync.Mutex
	current   atomic.Pointer[Served]
}

// Served is a document that is being served. It is immutable.
type Served struct {
	// Digest is what the client that sent it said of it; empty when there was none yet.
	Digest string
	// Modified is when it was sent.
	Modified time.Time

	sections map[string]section
}

// section is one list as it was sent, the objects in it and its version.
type section struct {
	version json.Number
	list    json.RawMessage
	objects []gateway.Object
}

// Served returns the document that is served now.
func (s *State) Served() *Served {
	if served := s.current.Load(); served != nil {
		return served
	}
	return new(Served)
}

// Replace makes doc what g serves, all of it or nothing. A section whose version is the one before keeps what it has; a
// version that is missing is one more. It returns, with what is served then, when the objects are live. What has not
// changed is not written.
func (s *State) Replace(ctx context.Context, g *gateway.Gateway, checker Checker, doc *Document, digest string, now time.Time) (*Served, error) {
	s.replacing.Lock()
	defer s.replacing.Unlock()
	before := s.Served()
	if before.Digest == digest {
		return before, nil
	}
	next, err := before.advance(checker, doc, digest, now)
	if err != nil {
		return nil, err
	}
	if _, err := g.Submit(ctx, next.changes); err != nil {
		return nil, err
	}
	s.current.Store(next)
	return next, nil
}

// Try is Replace without its effect: whatever would refuse the document does.
func (s *State) Try(ctx context.Context, g *gateway.Gateway, checker Checker, doc *Document, digest string, now time.Time) error {
	s.replacing.Lock()
	defer s.replacing.Unlock()
	next, err := s.Served().advance(checker, doc, digest, now)
	if err != nil {
		return err
	}
	return g.Try(ctx, next.changes)
}

// advance makes of doc what follows the document that is served.
func (s *Served) advance(checker Checker, doc *Document, digest string, now time.Time) (*Served, error) {
	next := &Served{Digest: digest, Modified: now, sections: make(map[string]section, len(Sections))}
	for _, name := range Sections {
		sec, err := doc.advance(name, s.sections[name], checker)
		if err != nil {
			return nil, err
		}
		next.sections[name] = sec
	}
	return next, nil
}

// advance makes the section that follows before.
func (d *Document) advance(name string, before section, checker Checker) (section, error) {
	old := before.number()
	version, given := d.root[name+versionSuffix]
	if !given {
		version = json.Number(strconv.FormatFloat(old+1, 'f', -1, 64))
	}
	number, ok := numberOf(version)
	switch {
	case !ok:
		return section{}, refuse("%s must be a number", name+versionSuffix)
	case number < old:
		return section{}, refuse("%s must be greater than or equal to (%s)", name+versionSuffix, strconv.FormatFloat(old, 'f', -1, 64))
	case given && number == old:
		return before, nil
	}
	objects, findings := d.section(name, checker)
	if len(findings) > 0 {
		return section{}, findings[0].Err
	}
	next := section{version: version.(json.Number), objects: objects}
	if items, _ := d.root[name].([]any); len(items) > 0 {
		list, err := encode(items)
		if err != nil {
			return section{}, err
		}
		next.list = list
	}
	return next, nil
}

func (s *section) number() float64 {
	number, _ := numberOf(s.version)
	return number
}

// changes lists what makes the stored objects in tx those of the document.
func (s *Served) changes(tx gateway.Tx) ([]gateway.Change, error) {
	wanted := make(map[string]bool)
	var puts []gateway.Change
	for _, name := range Sections {
		for _, o := range s.sections[name].objects {
			wanted[o.Key()] = true
			if live, ok := tx.Object(o.Kind, o.ID); !ok || !bytes.Equal(live.Value, o.Value) {
				puts = append(puts, gateway.Change{Object: o})
			}
		}
	}
	var changes []gateway.Change
	for _, kind := range gateway.Kinds {
		for o := range tx.Objects(kind) {
			if o.Origin == gateway.OriginStore && !wanted[o.Key()] {
				changes = append(changes, gateway.Change{Object: o, Delete: true})
			}
		}
	}
	return append(changes, puts...), nil
}

// JSON is the document with all versions; those that were never set are 0.
func (s *Served) JSON() []byte {
	out := []byte{'{'}
	for i, name := range Sections {
		if i > 0 {
			out = append(out, ',')
		}
		sec := s.sections[name]
		if sec.list != nil {
			out = append(strconv.AppendQuote(out, name), ':')
			out = append(append(out, sec.list...), ',')
		}
		out = append(strconv.AppendQuote(out, name+versionSuffix), ':')
		if sec.version == "" {
			sec.version = "0"
		}
		out = append(out, sec.version...)
	}
	return append(out, '}')
}

// YAML is the same in YAML.
func (s *Served) YAML() ([]byte, error) { return encodeYAML(s.JSON()) }
