// SPDX-License-Identifier: Apache-2.0

//go:build !race

package lane_test

// raceDetector says that memory is shadowed.
const raceDetector = false
