// SPDX-License-Identifier: Apache-2.0

//go:build !race

package andocaddy

// raceDetector says that pools lose some of what they are given, so that nothing can be said of allocations.
const raceDetector = false
