// SPDX-License-Identifier: Apache-2.0

package bolt_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/store/bolt"
)

const (
	// crashRounds is the variable that sets how often TestCrash kills its child.
	crashRounds = "ANDO_CRASH_ROUNDS"
	// crashStore makes the test binary the child: it writes to this store until it is killed.
	crashStore = "ANDO_CRASH_STORE"
	// crashSeq is how far each writer has come in the rounds before.
	crashSeq = "ANDO_CRASH_SEQ"

	crashWriters = 8
	crashKeys    = 6
)

// crashValue is what the child writes: both objects of a pair get the same, in one write.
type crashValue struct {
	Writer, Seq int
	Pad         string
}

// step is the seq-th write of a writer. It is a function of both, so that the parent knows what was under way.
type step struct {
	writer, seq, key int
	remove           bool
}

func stepOf(writer, seq int) step {
	random := rand.New(rand.NewPCG(uint64(writer), uint64(seq)))
	return step{writer, seq, random.IntN(crashKeys), random.IntN(4) == 0}
}

func (s step) id() string { return fmt.Sprintf("%d-%d", s.writer, s.key) }

func (s step) changes() []gateway.Change {
	// Up to some pages, so that a batch is many writes to the file.
	value, _ := json.Marshal(crashValue{s.writer, s.seq, strings.Repeat("x", s.seq*131%9000)})
	return []gateway.Change{
		{Object: gateway.Object{Kind: gateway.Upstreams, ID: s.id(), Value: value}, Delete: s.remove},
		{Object: gateway.Object{Kind: gateway.Routes, ID: s.id(), Value: value}, Delete: s.remove},
	}
}

func TestMain(m *testing.M) {
	if path := os.Getenv(crashStore); path != "" {
		fmt.Fprintln(os.Stderr, crashChild(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// crashChild writes with many writers and says "WRITER SEQ REVISION" after each acknowledgement. It returns only when
// something is wrong.
func crashChild(path string) error {
	store, err := bolt.Open(path)
	if err != nil {
		return err
	}
	g, _, err := gateway.Open(context.Background(), store, &gateway.Generation{Compiler: objectsOnly{}})
	if err != nil {
		return err
	}
	fmt.Println("open")
	failed := make(chan error)
	for writer, done := range strings.Split(os.Getenv(crashSeq), ",") {
		seq, err := strconv.Atoi(done)
		if err != nil {
			return err
		}
		go func() {
			for {
				seq++
				rev, err := g.Submit(context.Background(), func(gateway.Tx) ([]gateway.Change, error) {
					return stepOf(writer, seq).changes(), nil
				})
				if err == nil {
					_, err = fmt.Printf("%d %d %d\n", writer, seq, rev)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

// crashRig is the parent: what it knows of the store from acknowledgements.
type crashRig struct {
	path string
	// seq is the last acknowledged step of each writer, pairs the seq of what each id holds, and rev the newest revision.
	seq   [crashWriters]int
	pairs map[string]int
	rev   uint64
	acks  int
}

// TestCrash kills a process that writes through a gateway, at random moments, and wants every acknowledged write back
// and nothing half done.
func TestCrash(t *testing.T) {
	rounds := 15
	if text := os.Getenv(crashRounds); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", crashRounds, err)
		}
	} else if testing.Short() {
		rounds = 3
	}
	deadline, hasDeadline := t.Deadline()
	var rig *crashRig
	kills, acks, early := 0, 0, 0
	for round := range rounds {
		if hasDeadline && time.Until(deadline) < 10*time.Second {
			t.Fatalf("no time left after %d rounds", round)
		}
		if round%10 == 0 {
			rig = &crashRig{path: filepath.Join(t.TempDir(), "store.db"), pairs: make(map[string]int)}
		}
		before := rig.acks
		opened := rig.crash(t)
		rig.check(t)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
		kills++
		acks += rig.acks - before
		if !opened {
			early++
		}
	}
	t.Logf("%d kills, %d of them before the store was open; %d acknowledged writes, all there", kills, early, acks)
}

// crash runs a child, kills it at a random moment and notes what it acknowledged.
func (rig *crashRig) crash(t *testing.T) (opened bool) {
	t.Helper()
	seqs := make([]string, crashWriters)
	for i := range seqs {
		seqs[i] = strconv.Itoa(rig.seq[i])
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashStore+"="+rig.path, crashSeq+"="+strings.Join(seqs, ","))
	var complaints strings.Builder
	child.Stderr = &complaints
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	// One child in five is killed while it starts, the others while they write.
	atStart := rand.IntN(5) == 0
	light := func(longest time.Duration) {
		time.AfterFunc(rand.N(longest), func() { _ = child.Process.Kill() })
	}
	if atStart {
		light(40 * time.Millisecond)
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
		if line == "open\n" {
			opened = true
			if !atStart {
				light(150 * time.Millisecond)
			}
			continue
		}
		rig.acknowledge(t, line)
	}
	_ = child.Wait()
	if complaints.Len() > 0 {
		t.Errorf("the child failed: %s", complaints.String())
	}
	return opened
}

func (rig *crashRig) acknowledge(t *testing.T, line string) {
	t.Helper()
	var writer, seq int
	var rev uint64
	if _, err := fmt.Sscanf(line, "%d %d %d\n", &writer, &seq, &rev); err != nil || seq != rig.seq[writer]+1 {
		t.Fatalf("the child says %q", line)
	}
	rig.acks++
	rig.seq[writer] = seq
	rig.rev = max(rig.rev, rev)
	rig.settle(stepOf(writer, seq))
}

func (rig *crashRig) settle(s step) {
	if s.remove {
		delete(rig.pairs, s.id())
	} else {
		rig.pairs[s.id()] = s.seq
	}
}

// check opens the store as a restart would and compares.
func (rig *crashRig) check(t *testing.T) {
	t.Helper()
	store, err := bolt.Open(rig.path)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	rev, objects, err := store.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if rev < rig.rev {
		t.Errorf("revision %d, but %d was acknowledged", rev, rig.rev)
	}
	found := map[gateway.Kind]map[string]int{gateway.Routes: {}, gateway.Upstreams: {}}
	for _, o := range objects {
		var value crashValue
		if err := json.Unmarshal(o.Value, &value); err != nil {
			t.Fatalf("%s: %v", o.Key(), err)
		}
		found[o.Kind][o.ID] = value.Seq
	}
	if !maps.Equal(found[gateway.Routes], found[gateway.Upstreams]) {
		t.Errorf("half a write is there: routes %v, upstreams %v", found[gateway.Routes], found[gateway.Upstreams])
	}
	// Each writer may have had one more write under way, of which nobody was told; it is there or it is not.
	for writer := range crashWriters {
		next := stepOf(writer, rig.seq[writer]+1)
		seq, exists := found[gateway.Routes][next.id()]
		if exists && seq == next.seq || !exists && next.remove {
			rig.seq[writer]++
			rig.settle(next)
		}
	}
	if got := found[gateway.Routes]; !maps.Equal(got, rig.pairs) {
		t.Errorf("the store has %v, want %v", got, rig.pairs)
	}
	rig.rev = rev
}

// objectsOnly compiles tables that hold nothing: this is about the store.
type objectsOnly struct{}

func (objectsOnly) Compile(rev uint64, _ []gateway.Object) (gateway.Table, []error) {
	return &emptyTable{rev: rev}, nil
}

type emptyTable struct {
	gateway.Table
	rev uint64
}

func (t *emptyTable) Object(gateway.Kind, string) (gateway.Object, bool) {
	return gateway.Object{}, false
}

func (t *emptyTable) Objects(gateway.Kind) iter.Seq[gateway.Object] {
	return func(func(gateway.Object) bool) {}
}

func (t *emptyTable) With(changes []gateway.Change) (gateway.Table, error) {
	return &emptyTable{rev: changes[len(changes)-1].Object.Modified}, nil
}
