// SPDX-License-Identifier: Apache-2.0

//go:build race

package lane_test

const raceDetector = true
