// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"hash/crc32"
	"slices"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

const (
	// pointsPerWeight is how many points a node has on the ring for each unit of its weight.
	pointsPerWeight = 160
	// maxPoints bounds a ring to 8 MiB. Weights whose points would be more are scaled down; keys are then not where
	// APISIX has them.
	maxPoints = 1 << 20
)

// ring is consistent hashing as lua-resty-chash and nginx do it, so that a key has the node it has in APISIX: a node's
// points are the CRC-32 of "host NUL port" followed by the point before, little-endian. It holds all nodes; those that
// were tried or are unhealthy are walked past, and other keys stay where they are.
type ring struct {
	key   Key
	nodes []*gateway.Node
	// points are sorted. The upper half of each is its place, the lower the index of its node.
	points []uint64
	// down tells by index which nodes are walked past; nil is none. It is never all.
	down []bool
}

func newRing(nodes []*gateway.Node, key Key) gateway.Balancer {
	weights := weightsOf(nodes, maxPoints/pointsPerWeight)
	total := 0
	for _, weight := range weights {
		total += weight
	}
	points := make([]uint64, 0, total*pointsPerWeight)
	for i, weight := range weights {
		id := ^checksum(strings.ReplaceAll(nodes[i].Addr, ":", "\x00"))
		place := uint32(0)
		for range weight * pointsPerWeight {
			sum := id ^ place
			for range 4 {
				sum = crc32.IEEETable[byte(sum)] ^ sum>>8
			}
			place = ^sum
			points = append(points, uint64(place)<<32|uint64(i))
		}
	}
	return &ring{key: key, nodes: nodes, points: sortPoints(points)}
}

// sortPoints sorts points that are in the order of their nodes. It is a radix sort, which has the largest ring ready in a
// tenth of the time of a general one: changes wait for it.
func sortPoints(points []uint64) []uint64 {
	other := make([]uint64, len(points))
	for _, shift := range [...]uint{32, 43, 54} {
		var starts [1 << 11]int
		for _, p := range points {
			starts[p>>shift&(1<<11-1)]++
		}
		at := 0
		for i, n := range starts {
			starts[i] = at
			at += n
		}
		for _, p := range points {
			digit := p >> shift & (1<<11 - 1)
			other[starts[digit]] = p
			starts[digit]++
		}
		points, other = other, points
	}
	return points
}

func (r *ring) Pick(x *gateway.Exchange) *gateway.Node {
	key, ok := "", false
	if r.key != nil {
		key, ok = r.key(x)
	}
	if !ok || key == "" {
		key = x.Request.ClientIP()
	}
	at := r.find(checksum(key))
	i := uint32(r.points[at])
	if r.left(x, i) {
		return r.nodes[i]
	}
	if !r.anyLeft(x) {
		return nil
	}
	for !r.left(x, i) {
		if at++; at == len(r.points) {
			at = 0
		}
		i = uint32(r.points[at])
	}
	return r.nodes[i]
}

// left reports whether the node at an index can be picked.
func (r *ring) left(x *gateway.Exchange, i uint32) bool {
	return (r.down == nil || !r.down[i]) && (len(x.Forward.Attempts) == 0 || !x.Tried(r.nodes[i]))
}

func (r *ring) anyLeft(x *gateway.Exchange) bool {
	for i := range r.nodes {
		if r.left(x, uint32(i)) {
			return true
		}
	}
	return false
}

// without returns the ring as it is while some nodes are down. It has the same points.
func (r *ring) without(down []bool) *ring {
	if !slices.Contains(down, true) {
		down = nil
	}
	return &ring{key: r.key, nodes: r.nodes, points: r.points, down: down}
}

// find returns the first point at or after place, around the ring. Points are spread evenly, so the search starts where
// the place would be if they were exactly so.
func (r *ring) find(place uint32) int {
	n := len(r.points)
	want := uint64(place) << 32
	i := int(uint64(place) * uint64(n) >> 32)
	for i > 0 && r.points[i-1] >= want {
		i--
	}
	for i < n && r.points[i] < want {
		i++
	}
	if i == n {
		return 0
	}
	return i
}

// checksum is crc32.ChecksumIEEE of a string. The library's is faster for long ones, but would have a copy on the heap.
func checksum(s string) uint32 {
	sum := ^uint32(0)
	for i := range len(s) {
		sum = crc32.IEEETable[byte(sum)^s[i]] ^ sum>>8
	}
	return ^sum
}
