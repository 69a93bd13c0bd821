// SPDX-License-Identifier: Apache-2.0

// Package standard registers every plugin that Ando comes with. Import it for its effect.
package standard

import (
	_ "github.com/andogate/ando/modules/plugins/basicauth"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	_ "github.com/andogate/ando/modules/plugins/responserewrite"
)
