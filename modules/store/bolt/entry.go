// SPDX-License-Identifier: Apache-2.0

package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// An entry is an object as it is stored. Numbers are big endian:
//
//	 0  version, 1
//	 1  CRC-32C of the key and of everything below
//	 5  created
//	13  modified
//	21  expires, in milliseconds since 1970; 0 is never
//	29  the object's JSON
const (
	entryVersion = 1
	entrySum     = 1
	entryBody    = 5
	entryHeader  = 29
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(key []byte, o *gateway.Object) []byte {
	var expires int64
	if !o.Expires.IsZero() {
		expires = o.Expires.UnixMilli()
	}
	entry := make([]byte, entryBody, entryHeader+len(o.Value))
	entry[0] = entryVersion
	entry = binary.BigEndian.AppendUint64(entry, o.Created)
	entry = binary.BigEndian.AppendUint64(entry, o.Modified)
	entry = binary.BigEndian.AppendUint64(entry, uint64(expires))
	entry = append(entry, o.Value...)
	binary.BigEndian.PutUint32(entry[entrySum:], checksum(key, entry))
	return entry
}

func checksum(key, entry []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, entry[entryBody:])
}

// storedSum returns the checksum in an entry; 0 when there is none.
func storedSum(entry []byte) uint32 {
	if len(entry) < entryHeader {
		return 0
	}
	return binary.BigEndian.Uint32(entry[entrySum:])
}

// decode copies what it returns: key and entry are bbolt's, and end with the transaction.
func decode(key, entry []byte) (o gateway.Object, err error) {
	kind, id, ok := gateway.ParseKey(string(key))
	switch {
	case !ok:
		return o, &DamagedError{fmt.Sprintf("%q is no object's key", key)}
	case len(entry) < entryHeader:
		return o, &DamagedError{fmt.Sprintf("%s is cut short", key)}
	case entry[0] != entryVersion:
		return o, &DamagedError{fmt.Sprintf("%s has version %d", key, entry[0])}
	case checksum(key, entry) != storedSum(entry):
		return o, &DamagedError{fmt.Sprintf("%s has a wrong checksum", key)}
	}
	o = gateway.Object{
		Kind: kind, ID: id, Value: bytes.Clone(entry[entryHeader:]),
		Created:  binary.BigEndian.Uint64(entry[entryBody:]),
		Modified: binary.BigEndian.Uint64(entry[entryBody+8:]),
	}
	if expires := int64(binary.BigEndian.Uint64(entry[entryBody+16:])); expires != 0 {
		o.Expires = time.UnixMilli(expires)
	}
	return o, nil
}
