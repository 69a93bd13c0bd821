// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
)

// rootPools remembers the newest pool for each list of files: a reload that finds the same certificates in them gets the
// same pool, so that connections to nodes go on.
var rootPools struct {
	sync.Mutex
	made map[string]rootPool
}

type rootPool struct {
	digest [sha256.Size]byte
	pool   *x509.CertPool
}

// nodeRoots returns the certificates in a list like APISIX's `ssl_trusted_certificate`: PEM files and the word system,
// with commas between them. nil stands for the system's alone.
func nodeRoots(list string) (*x509.CertPool, error) {
	if list == "" || list == "system" {
		return nil, nil
	}
	files := strings.Split(strings.ReplaceAll(list, " ", ""), ",")
	pool, digest := x509.NewCertPool(), sha256.New()
	if i := slices.Index(files, "system"); i >= 0 {
		var err error
		if pool, err = x509.SystemCertPool(); err != nil {
			return nil, err
		}
		files = slices.Delete(files, i, i+1)
	}
	for _, item := range files {
		text, err := os.ReadFile(item)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: no certificate in PEM is in it", item)
		}
		_, _ = digest.Write(text)
	}
	made := rootPool{pool: pool}
	digest.Sum(made.digest[:0])
	rootPools.Lock()
	defer rootPools.Unlock()
	if before, ok := rootPools.made[list]; ok && before.digest == made.digest {
		return before.pool, nil
	}
	if rootPools.made == nil {
		rootPools.made = make(map[string]rootPool)
	}
	rootPools.made[list] = made
	return pool, nil
}
