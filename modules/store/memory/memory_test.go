// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"errors"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

func route(id string, rev uint64) gateway.Object {
	return gateway.Object{Kind: gateway.Routes, ID: id, Created: rev, Modified: rev}
}

func TestNewNumbersObjects(t *testing.T) {
	s := New(route("1", 0), route("2", 7), route("3", 0))
	rev, objects, err := s.Snapshot(context.Background())
	if err != nil || rev != 9 {
		t.Fatalf("revision %d, error %v", rev, err)
	}
	want := map[string]uint64{"1": 8, "2": 7, "3": 9}
	for _, o := range objects {
		if o.Modified != want[o.ID] || o.Created != want[o.ID] {
			t.Errorf("%s: created %d, modified %d, want %d", o.ID, o.Created, o.Modified, want[o.ID])
		}
	}
	if len(objects) != 3 {
		t.Errorf("%d objects", len(objects))
	}
}

func TestCommit(t *testing.T) {
	s := New(route("1", 1))
	rev, err := s.Commit(context.Background(), []gateway.Change{
		{Object: route("2", 2)}, {Object: route("1", 3), Delete: true},
	})
	if rev != 3 || err != nil {
		t.Fatalf("revision %d, error %v", rev, err)
	}
	if _, err := s.Commit(context.Background(), []gateway.Change{{Object: route("4", 4)}, {Object: route("3", 3)}}); err == nil {
		t.Error("changes out of order were stored")
	}
	rev, objects, _ := s.Snapshot(context.Background())
	if rev != 3 || len(objects) != 1 || objects[0].ID != "2" {
		t.Errorf("revision %d, objects %v", rev, objects)
	}
}

func TestWatchYieldsWhatWasInjected(t *testing.T) {
	s := New(route("1", 1))
	if _, err := s.Commit(context.Background(), []gateway.Change{{Object: route("own", 2)}}); err != nil {
		t.Fatal(err)
	}
	s.Inject([]gateway.Change{{Object: route("2", 0)}, {Object: route("3", 0)}})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var got []gateway.Change
	for changes, err := range s.Watch(ctx, 3) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, changes...)
		if len(got) == 1 {
			go s.Inject([]gateway.Change{{Object: route("1", 0), Delete: true}})
			continue
		}
		cancel()
	}
	if len(got) != 2 || got[0].Object.ID != "3" || got[0].Object.Modified != 4 || !got[1].Delete || got[1].Object.Modified != 5 {
		t.Errorf("got %+v", got)
	}
	if rev, objects, _ := s.Snapshot(context.Background()); rev != 5 || len(objects) != 3 {
		t.Errorf("revision %d, objects %v", rev, objects)
	}
}

func TestClosed(t *testing.T) {
	s := New()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(context.Background(), []gateway.Change{{Object: route("1", 1)}}); !errors.Is(err, ErrClosed) {
		t.Errorf("commit: %v", err)
	}
	if _, _, err := s.Snapshot(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("snapshot: %v", err)
	}
}
