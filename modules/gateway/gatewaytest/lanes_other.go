// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package gatewaytest

// lanes is empty: event loops exist on Linux alone.
var lanes []Wire
