// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"strings"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/upstream/balance"
)

// newKey compiles what chash hashes. on and key are APISIX's `hash_on` and `key`. Only vars_combinations allocates.
func newKey(on, key string) balance.Key {
	switch on {
	case "consumer":
		return func(x *gateway.Exchange) (string, bool) {
			if x.Consumer == nil {
				return "", false
			}
			return x.Consumer.Name, true
		}
	case "header":
		return balance.Key(expr.Variable("http_" + strings.ToLower(strings.ReplaceAll(key, "-", "_"))))
	case "cookie":
		return balance.Key(expr.Variable("cookie_" + key))
	case "vars_combinations":
		// When none of its variables is there, there is nothing to hash but the text around them.
		return expr.ParseTemplate(key).Resolve
	}
	return balance.Key(expr.Variable(key))
}
