// SPDX-License-Identifier: Apache-2.0

// Package serverlessprefunction is APISIX's serverless-pre-function plugin: it runs functions in Lua early in a phase.
package serverlessprefunction

import "github.com/andogate/ando/modules/plugins/serverless"

const name = "serverless-pre-function"

func init() { serverless.Register(name, 10000) }
