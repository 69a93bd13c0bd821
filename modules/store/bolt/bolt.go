// SPDX-License-Identifier: Apache-2.0

// Package bolt keeps objects in one bbolt file, the default store: no other process, one transaction for each commit.
package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/andogate/ando/modules/gateway"
)

// format is the newest layout of the file that this code knows, and the one that it writes:
//
//	meta     "format"    8 bytes, big endian
//	         "revision"  8 bytes, big endian: that of the newest commit
//	         "sum"       8 bytes, big endian: the sum of all entries' checksums, which tells when one is missing
//	objects  KEY         an entry; KEY is that of APISIX's etcd layout, such as "/apisix/routes/1"
const format = 1

var (
	metaBucket    = []byte("meta")
	objectsBucket = []byte("objects")
	formatKey     = []byte("format")
	revisionKey   = []byte("revision")
	sumKey        = []byte("sum")
)

// lockTimeout is how long Open waits for another process to let go of the file: one that is shutting down needs a
// moment.
const lockTimeout = 3 * time.Second

// errNotOurs says that a bbolt file is somebody else's.
var errNotOurs = errors.New("this bbolt file is not an Ando store")

// Store is a [gateway.Store] in one file. It is safe for concurrent use.
//
// A commit is one bbolt transaction: it is in the file, and flushed to the disk, before Commit returns, or no part of it
// is ever seen. A process that dies at any moment leaves a file that opens again.
type Store struct {
	path string
	db   *bbolt.DB
	// file is what bbolt opened, for the case that it cannot close it itself.
	file *os.File

	mu sync.Mutex
	// broken is set when the file can no longer be trusted, or bbolt's locks cannot.
	broken error
	stuck  bool
}

// Open opens the store at path, with mode 0600, and creates it and the folders above, with mode 0700, when they do not
// exist. Only one process at a time can have it open. Errors name the file and what can be done.
func Open(path string) (*Store, error) { return open(path, lockTimeout) }

func open(path string, patience time.Duration) (*Store, error) {
	created, err := makeFolder(path)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	s := &Store{path: path}
	if err := s.open(patience); err != nil {
		// The folder is not removed: somebody else may have begun to use it.
		return nil, fmt.Errorf("store %s: %w", path, explain(err, patience))
	}
	if created {
		if err := s.syncFolders(); err != nil {
			return nil, fmt.Errorf("store %s: %w", path, errors.Join(err, s.Close()))
		}
	}
	return s, nil
}

func (s *Store) open(patience time.Duration) error {
	err := s.guard(func() (err error) {
		// The free list is kept in the file. Without it bbolt would have to walk all pages to open one, and panics on a
		// goroutine of its own, where nobody can recover, when one of them is damaged. As an array it gives out the first
		// pages that are free, so that those of one commit are near each other on the disk.
		s.db, err = bbolt.Open(s.path, 0o600, &bbolt.Options{
			Timeout: patience, FreelistType: bbolt.FreelistArrayType, NoStatistics: true,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				file, err := os.OpenFile(name, flag, mode)
				s.file = file
				return file, err
			},
		})
		return err
	})
	if err != nil {
		s.release()
		return err
	}
	if err := s.guard(func() error { return s.db.Update(initialise) }); err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

// initialise makes a new file a store, and checks that an old one is.
func initialise(tx *bbolt.Tx) error {
	meta, objects := tx.Bucket(metaBucket), tx.Bucket(objectsBucket)
	if meta == nil && objects == nil {
		if key, _ := tx.Cursor().First(); key != nil {
			return errNotOurs
		}
		if _, err := tx.CreateBucket(objectsBucket); err != nil {
			return err
		}
		meta, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		return errors.Join(putNumber(meta, formatKey, format), putNumber(meta, revisionKey, 0), putNumber(meta, sumKey, 0))
	}
	if meta == nil {
		return errNotOurs
	}
	found, err := number(meta, formatKey)
	switch {
	case err != nil:
		return errNotOurs
	case found > format:
		return fmt.Errorf("written by a newer Ando: it has format %d, and this one reads up to %d; "+
			"upgrade Ando or use another file", found, format)
	case objects == nil:
		return errNotOurs
	}
	return nil
}

// explain adds to what bbolt says what the user can do.
func explain(err error, patience time.Duration) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("in use by another process for more than %v: stop that one, or use another file", patience)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: it must be readable and writable for the user that runs Ando", err)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch),
		errors.Is(err, bolterrors.ErrChecksum):
		return fmt.Errorf("%w: %w", &DamagedError{}, err)
	}
	return err
}

// DamagedError says that the file does not hold what was written to it.
type DamagedError struct{ Reason string }

func (e *DamagedError) Error() string {
	const advice = "the file is damaged or not a store; put a backup in its place, or move it away to begin empty"
	if e.Reason == "" {
		return advice
	}
	return advice + ": " + e.Reason
}

// Snapshot implements [gateway.Store].
func (s *Store) Snapshot(ctx context.Context) (rev uint64, objects []gateway.Object, err error) {
	err = s.use(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			rev, objects, err = read(ctx, tx)
			return err
		})
	})
	if err != nil {
		return 0, nil, err
	}
	return rev, objects, nil
}

func read(ctx context.Context, tx *bbolt.Tx) (rev uint64, objects []gateway.Object, err error) {
	meta := tx.Bucket(metaBucket)
	if rev, err = number(meta, revisionKey); err != nil {
		return 0, nil, err
	}
	want, err := number(meta, sumKey)
	if err != nil {
		return 0, nil, err
	}
	var sum uint64
	err = tx.Bucket(objectsBucket).ForEach(func(key, entry []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		o, err := decode(key, entry)
		objects = append(objects, o)
		sum += uint64(storedSum(entry))
		return err
	})
	if err == nil && sum != want {
		err = &DamagedError{"objects are missing or older than they should be"}
	}
	return rev, objects, err
}

// Commit implements [gateway.Store].
func (s *Store) Commit(_ context.Context, changes []gateway.Change) (rev uint64, err error) {
	if len(changes) == 0 {
		return 0, fmt.Errorf("store %s: a commit of nothing", s.path)
	}
	rev = changes[len(changes)-1].Object.Modified
	err = s.use(func() error {
		begun, before := false, uint64(0)
		err := s.db.Update(func(tx *bbolt.Tx) (err error) {
			meta := tx.Bucket(metaBucket)
			if before, err = number(meta, revisionKey); err != nil {
				return err
			}
			begun = true
			if err := gateway.CheckNumbers(before, changes); err != nil {
				return err
			}
			sum, err := number(meta, sumKey)
			if err != nil {
				return err
			}
			if sum, err = write(tx.Bucket(objectsBucket), changes, sum); err != nil {
				return err
			}
			return errors.Join(putNumber(meta, sumKey, sum), putNumber(meta, revisionKey, rev))
		})
		if err != nil && begun {
			s.doubt(before, err)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return rev, nil
}

// write returns what becomes of the sum of all checksums.
func write(objects *bbolt.Bucket, changes []gateway.Change, sum uint64) (uint64, error) {
	for i := range changes {
		o := &changes[i].Object
		key := []byte(o.Key())
		sum -= uint64(storedSum(objects.Get(key)))
		if changes[i].Delete {
			if err := objects.Delete(key); err != nil {
				return 0, fmt.Errorf("delete %s: %w", key, err)
			}
			continue
		}
		entry := encode(key, o)
		sum += uint64(storedSum(entry))
		if err := objects.Put(key, entry); err != nil {
			return 0, fmt.Errorf("put %s: %w", key, err)
		}
	}
	return sum, nil
}

// doubt looks at what a failed transaction has left. When the last flush fails bbolt reports an error but goes on from
// the new state, which may or may not reach the disk: nothing more is written on top of that.
func (s *Store) doubt(before uint64, cause error) {
	var after uint64
	err := s.db.View(func(tx *bbolt.Tx) (err error) {
		after, err = number(tx.Bucket(metaBucket), revisionKey)
		return err
	})
	if err == nil && after == before {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = fmt.Errorf("a commit failed half way and nothing is written any more; check the disk and restart: %w",
		errors.Join(cause, err))
}

// Watch implements [gateway.Store]. Nobody else writes to the file.
func (s *Store) Watch(ctx context.Context, _ uint64) iter.Seq2[[]gateway.Change, error] {
	return func(func([]gateway.Change, error) bool) { <-ctx.Done() }
}

// Close implements [gateway.Store].
func (s *Store) Close() error {
	if s.isStuck() {
		s.release()
		return nil
	}
	if err := s.guard(s.db.Close); err != nil {
		s.release()
		return fmt.Errorf("store %s: %w", s.path, err)
	}
	return nil
}

// release gives the file back without bbolt, and its lock with it.
func (s *Store) release() {
	if s.file != nil {
		// What bbolt has closed already cannot be unlocked, and need not be.
		_ = unlock(s.file)
		_ = s.file.Close()
	}
}

func (s *Store) isStuck() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stuck
}

// use runs fn unless the store is broken.
func (s *Store) use(fn func() error) error {
	s.mu.Lock()
	err := s.broken
	s.mu.Unlock()
	if err == nil {
		err = s.guard(fn)
	}
	if err != nil {
		return fmt.Errorf("store %s: %w", s.path, err)
	}
	return nil
}

// guard turns what bbolt does on a damaged file into an error: it panics, or reads where the file has ended. It may
// have kept its locks, so nothing calls it again afterwards.
func (s *Store) guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = &DamagedError{fmt.Sprint(p)}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.broken, s.stuck = err, true
		}
	}()
	return fn()
}

// makeFolder creates the folder of path. created says that the file itself does not exist yet.
func makeFolder(path string) (created bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, err
	}
	_, err = os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// syncFolders makes the name of a new file, and that of its folder, as durable as what is in it.
func (s *Store) syncFolders() error {
	folder := filepath.Dir(s.path)
	return errors.Join(syncFolder(folder), syncFolder(filepath.Dir(folder)))
}

func number(meta *bbolt.Bucket, key []byte) (uint64, error) {
	value := meta.Get(key)
	if len(value) != 8 {
		return 0, &DamagedError{fmt.Sprintf("meta %s is %x", key, value)}
	}
	return binary.BigEndian.Uint64(value), nil
}

func putNumber(meta *bbolt.Bucket, key []byte, n uint64) error {
	return meta.Put(key, binary.BigEndian.AppendUint64(nil, n))
}

var _ gateway.Store = (*Store)(nil)
