// SPDX-License-Identifier: Apache-2.0

// Package standard registers every plugin that Ando comes with. Import it for its effect.
package standard

import (
	_ "github.com/andogate/ando/modules/plugins/attachconsumerlabel"
	_ "github.com/andogate/ando/modules/plugins/basicauth"
	_ "github.com/andogate/ando/modules/plugins/brotli"
	_ "github.com/andogate/ando/modules/plugins/clientcontrol"
	_ "github.com/andogate/ando/modules/plugins/consumerrestriction"
	_ "github.com/andogate/ando/modules/plugins/cors"
	_ "github.com/andogate/ando/modules/plugins/csrf"
	_ "github.com/andogate/ando/modules/plugins/datamask"
	_ "github.com/andogate/ando/modules/plugins/forwardauth"
	_ "github.com/andogate/ando/modules/plugins/gzip"
	_ "github.com/andogate/ando/modules/plugins/hmacauth"
	_ "github.com/andogate/ando/modules/plugins/iprestriction"
	_ "github.com/andogate/ando/modules/plugins/jwtauth"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	_ "github.com/andogate/ando/modules/plugins/limitcount"
	_ "github.com/andogate/ando/modules/plugins/multiauth"
	_ "github.com/andogate/ando/modules/plugins/opa"
	_ "github.com/andogate/ando/modules/plugins/proxybuffering"
	_ "github.com/andogate/ando/modules/plugins/proxycontrol"
	_ "github.com/andogate/ando/modules/plugins/proxymirror"
	_ "github.com/andogate/ando/modules/plugins/proxyrewrite"
	_ "github.com/andogate/ando/modules/plugins/publicapi"
	_ "github.com/andogate/ando/modules/plugins/realip"
	_ "github.com/andogate/ando/modules/plugins/redirect"
	_ "github.com/andogate/ando/modules/plugins/refererrestriction"
	_ "github.com/andogate/ando/modules/plugins/requestvalidation"
	_ "github.com/andogate/ando/modules/plugins/responserewrite"
	_ "github.com/andogate/ando/modules/plugins/uarestriction"
	_ "github.com/andogate/ando/modules/plugins/uriblocker"
	_ "github.com/andogate/ando/modules/plugins/zstd"
)
