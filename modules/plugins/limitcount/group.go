// SPDX-License-Identifier: Apache-2.0

package limitcount

import (
	"encoding/json"
	"errors"
	"sync"
	"weak"
)

// group is a name under which several configs count together. All of them are the same.
type group struct{ config string }

type groupName struct{ plugin, name string }

// groups has those in use. A name is free again some time after the last config of it is gone.
var groups = struct {
	sync.Mutex
	known map[groupName]weak.Pointer[group]
}{known: make(map[groupName]weak.Pointer[group])}

// joinGroup returns the group of that name, whose config has to be the same.
func joinGroup(plugin, name string, config json.RawMessage) (*group, error) {
	groups.Lock()
	defer groups.Unlock()
	key := groupName{plugin, name}
	if known := groups.known[key].Value(); known != nil {
		if known.config != string(config) {
			return nil, errors.New("group conf mismatched")
		}
		return known, nil
	}
	for old, pointer := range groups.known {
		if pointer.Value() == nil {
			delete(groups.known, old)
		}
	}
	made := &group{string(config)}
	groups.known[key] = weak.Make(made)
	return made, nil
}
