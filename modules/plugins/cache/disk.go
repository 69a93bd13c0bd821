// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// disk keeps one file for each entry, named after its key, in a folder of its own. A file is complete or not there; what
// cannot be read is not there either. What a process before has left is found when the folder is first used. Errors of the
// file system are misses: a cache that does not work costs time, not requests.
type disk struct {
	folder string
	limit  int64

	open sync.Once
	mu   sync.Mutex
	// The rest is guarded by mu. recent has *file, the most recently used first.
	files  map[string]*list.Element
	recent list.List
	size   int64
}

type file struct {
	name string
	size int64
}

// suffix tells files of entries from others; unfinished begins the names of those that are being written.
const (
	suffix     = ".cached"
	unfinished = "new-"
)

func fileName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:]) + suffix
}

// path spreads files over folders: few file systems like a folder with a million.
func (d *disk) path(name string) string { return filepath.Join(d.folder, name[:2], name) }

// scan finds the files of the process before, the oldest first, and removes what it did not finish.
func (d *disk) scan() {
	type found struct {
		file
		modified time.Time
	}
	var all []found
	_ = filepath.WalkDir(d.folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fs.SkipDir
		}
		if entry.IsDir() {
			return nil
		}
		name := entry.Name()
		info, err := entry.Info()
		switch {
		case strings.HasPrefix(name, unfinished):
			if err == nil && time.Since(info.ModTime()) > time.Hour {
				_ = os.Remove(path)
			}
		case err == nil && strings.HasSuffix(name, suffix) && path == d.path(name):
			all = append(all, found{file{name, info.Size()}, info.ModTime()})
		}
		return nil
	})
	slices.SortFunc(all, func(a, b found) int { return a.modified.Compare(b.modified) })
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files = make(map[string]*list.Element, len(all))
	for _, f := range all {
		d.files[f.name] = d.recent.PushFront(&file{f.name, f.size})
		d.size += f.size
	}
}

func (d *disk) get(key string) *Entry {
	d.open.Do(d.scan)
	name := fileName(key)
	d.mu.Lock()
	e := d.files[name]
	if e != nil {
		d.recent.MoveToFront(e)
	}
	d.mu.Unlock()
	if e == nil {
		return nil
	}
	raw, err := os.ReadFile(d.path(name))
	if err == nil {
		stored, entry, err := decode(raw)
		if err == nil && stored == key {
			return entry
		}
	}
	d.forget(name)
	return nil
}

func (d *disk) put(key string, entry *Entry) {
	d.open.Do(d.scan)
	name := fileName(key)
	raw := entry.encode(key)
	if int64(len(raw)) > d.limit || d.write(name, raw) != nil {
		d.forget(name)
		return
	}
	d.mu.Lock()
	if e := d.files[name]; e != nil {
		d.size -= d.recent.Remove(e).(*file).size
	}
	d.files[name] = d.recent.PushFront(&file{name, int64(len(raw))})
	d.size += int64(len(raw))
	var old []string
	for d.size > d.limit {
		f := d.recent.Remove(d.recent.Back()).(*file)
		delete(d.files, f.name)
		d.size -= f.size
		old = append(old, f.name)
	}
	d.mu.Unlock()
	for _, name := range old {
		_ = os.Remove(d.path(name))
	}
}

// write makes a file that is there as a whole or not at all.
func (d *disk) write(name string, raw []byte) error {
	path := d.path(name)
	f, err := d.create(filepath.Dir(path))
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func (d *disk) create(folder string) (*os.File, error) {
	f, err := os.CreateTemp(folder, unfinished)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	return os.CreateTemp(folder, unfinished)
}

func (d *disk) remove(key string) *Entry {
	e := d.get(key)
	if e != nil {
		d.forget(fileName(key))
	}
	return e
}

func (d *disk) forget(name string) {
	d.mu.Lock()
	e := d.files[name]
	if e != nil {
		d.size -= d.recent.Remove(e).(*file).size
		delete(d.files, name)
	}
	d.mu.Unlock()
	if e != nil {
		_ = os.Remove(d.path(name))
	}
}
