// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Generate returns a keyring with a new key.
func Generate() *Keyring {
	k, err := New(newKey())
	if err != nil {
		panic(err) // newKey makes no other keys
	}
	return k
}

// newKey returns 32 letters, digits and signs that nobody can guess: 192 bits.
func newKey() string {
	random := make([]byte, 24)
	// It does not fail: without randomness the program ends.
	_, _ = rand.Read(random)
	return base64.StdEncoding.EncodeToString(random)
}

// Open reads a keyring from a file: one key on each line, the first encrypts. When there is no file it is made with a new
// key, readable by its owner alone; it is complete and on disk before it is there, and of several who make it at once all
// get the same key. made reports that there was none.
func Open(path string) (k *Keyring, made bool, err error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, false, fmt.Errorf("keyring %s: %w", path, err)
		}
		made = true
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, false, fmt.Errorf("keyring: %w", err)
	}
	var keys []string
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		if line := bytes.TrimSpace(lines.Bytes()); len(line) > 0 {
			keys = append(keys, string(line))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, false, fmt.Errorf("keyring %s: %w", path, err)
	}
	k, err = New(keys...)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	return k, made, nil
}

// create makes the file unless somebody else has made it meanwhile.
func create(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// CreateTemp makes files that only their owner can read.
	file, err := os.CreateTemp(dir, filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.WriteString(newKey() + "\n")
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// syncDir puts the name of a new file on disk, where the system can do that.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Not every system can; the file itself is safe.
	_ = d.Sync()
	return nil
}
