// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"errors"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

func attach(t *testing.T, g *gateway.Gateway, gen *gateway.Generation) (detach func()) {
	t.Helper()
	detach, faults, err := g.Attach(gen)
	if err != nil || len(faults) > 0 {
		t.Fatalf("attach: %v, faults %v", err, faults)
	}
	return detach
}

// wantCurrent checks both what compiled the table and the settings that new exchanges get.
func wantCurrent(t *testing.T, g *gateway.Gateway, want string) {
	t.Helper()
	var x gateway.Exchange
	g.Begin(&x, nil)
	if by := g.Table().(*plainTable).by; by != want || x.Settings.Server != want {
		t.Errorf("compiled by %q with the settings of %q, want %q", by, x.Settings.Server, want)
	}
}

func TestGenerations(t *testing.T) {
	first := generation("first")
	g, _, err := gateway.Open(context.Background(), script(), first)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	second := attach(t, g, generation("second"))
	wantCurrent(t, g, "second")
	g.Detach(first)
	wantCurrent(t, g, "second")
	third := attach(t, g, generation("third"))
	fourth := attach(t, g, generation("fourth"))
	third()
	wantCurrent(t, g, "fourth")
	fourth()
	wantCurrent(t, g, "second")
	fourth()
	second()
	wantCurrent(t, g, "second")
	submit(t, g, put("1", "a"))

	fifth := attach(t, g, generation("fifth"))
	sixth := attach(t, g, generation("sixth"))
	sixth()
	wantCurrent(t, g, "fifth")
	fifth()
	wantCurrent(t, g, "fifth")
	wantRoutes(t, g, "1=a")
}

func TestGenerationIsAttachedOnce(t *testing.T) {
	g := open(t, script())
	gen := generation("second")
	detach := attach(t, g, gen)
	if _, _, err := g.Attach(gen); err == nil {
		t.Error("attached twice")
	}
	detach()
	wantCurrent(t, g, "first")
	attach(t, g, gen)
	detach()
	wantCurrent(t, g, "second")
}

func TestAttachFails(t *testing.T) {
	store := script(route("1", "a"))
	g := open(t, store)
	before := g.Table()

	broken := errors.New("unreadable")
	store.failSnapshot(broken)
	if _, _, err := g.Attach(generation("second")); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	store.failSnapshot(nil)
	if _, _, err := g.Attach(generation("second", declared("2", "panic"))); err == nil {
		t.Error("a compiler that panics was attached")
	}
	if g.Table() != before {
		t.Error("the table was replaced")
	}
	wantCurrent(t, g, "first")
	detach := attach(t, g, generation("third"))
	detach()
	wantCurrent(t, g, "first")
}

func TestAttachReportsFaults(t *testing.T) {
	g := open(t, script())
	_, faults, err := g.Attach(generation("second", declared("1", "bad")))
	if err != nil || len(faults) != 1 {
		t.Errorf("error %v, faults %v", err, faults)
	}
}

func TestDeclaredObjects(t *testing.T) {
	g := open(t, script())
	submit(t, g, put("1", "stored"))
	submit(t, g, put("2", "stored"))
	detach := attach(t, g, generation("second", declared("1", "declared"), declared("3", "declared")))
	wantRoutes(t, g, "1=declared 2=stored 3=declared")

	for _, write := range []func(gateway.Tx) ([]gateway.Change, error){
		put("1", "changed"), remove("1"), put("3", "changed"), remove("3"),
	} {
		if _, err := g.Submit(context.Background(), write); !errors.Is(err, gateway.ErrReadOnly) {
			t.Errorf("write to a declared object: %v", err)
		}
	}
	both := func(gateway.Tx) ([]gateway.Change, error) {
		return []gateway.Change{{Object: route("2", "changed")}, {Object: route("3", "changed")}}, nil
	}
	if _, err := g.Submit(context.Background(), both); !errors.Is(err, gateway.ErrReadOnly) {
		t.Errorf("write to one that is and one that is not: %v", err)
	}
	wantRoutes(t, g, "1=declared 2=stored 3=declared")

	submit(t, g, put("2", "changed"))
	detach()
	wantRoutes(t, g, "1=stored 2=changed")
	if o, _ := g.Table().Object(gateway.Routes, "1"); o.Origin != gateway.OriginStore || o.Modified != 1 {
		t.Errorf("what was hidden came back as %+v", o)
	}
	submit(t, g, put("1", "changed"))
	wantRoutes(t, g, "1=changed 2=changed")
}

// recompiler tells what it was given.
type recompiler struct {
	plainCompiler
	prior gateway.Table
}

func (c *recompiler) Recompile(prior gateway.Table, rev uint64, objects []gateway.Object) (gateway.Table, []error) {
	c.prior = prior
	return c.Compile(rev, objects)
}

func TestRecompilerGetsTheTableBefore(t *testing.T) {
	c := &recompiler{plainCompiler: plainCompiler{"again"}}
	gen := &gateway.Generation{Compiler: c, Settings: &gateway.Settings{Server: "again"}}
	g, _, err := gateway.Open(context.Background(), script(), gen)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if c.prior != nil {
		t.Error("there was no table before the first")
	}
	detach := attach(t, g, generation("between"))
	between := g.Table()
	detach()
	wantCurrent(t, g, "again")
	if c.prior != between {
		t.Error("not given the table before")
	}
}
