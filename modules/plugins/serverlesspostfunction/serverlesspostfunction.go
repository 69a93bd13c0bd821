// SPDX-License-Identifier: Apache-2.0

// Package serverlesspostfunction is APISIX's serverless-post-function plugin: it runs functions in Lua late in a phase.
package serverlesspostfunction

import "github.com/andogate/ando/modules/plugins/serverless"

const name = "serverless-post-function"

func init() { serverless.Register(name, -2000) }
