// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package bolt

import (
	"errors"
	"os"
)

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		// Above the user's own folder there may be some that he cannot read; those were there before.
		if errors.Is(err, os.ErrPermission) {
			return nil
		}
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
