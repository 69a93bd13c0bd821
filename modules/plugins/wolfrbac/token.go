// SPDX-License-Identifier: Apache-2.0

package wolfrbac

import (
	"strings"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
)

// Where a client may say its token.
const (
	tokenArg    = "rbac_token"
	tokenField  = "X-Rbac-Token"
	tokenCookie = "x-rbac-token"
)

// version begins a token: VERSION#APPID#TOKEN, where TOKEN is the one that the server knows.
const version = "V1"

// token is one that a client has been given by login. Its strings outlive the exchange.
type token struct{ appID, wolf string }

func (t token) String() string { return version + "#" + t.appID + "#" + t.wolf }

// readToken returns the token of a request, or the body that refuses it. It is looked for in the query, then in
// Authorization, in a field of its own, and in a cookie.
func readToken(x *gateway.Exchange) (t token, refusal []byte) {
	text, times := x.Request.Arg(tokenArg)
	if times == 0 {
		for _, field := range [...]string{auth.Authorization, tokenField} {
			var found, several bool
			if text, found, several = auth.Only(&x.Request.Header, field); found {
				times = 1
				if several {
					times = 2
				}
				break
			}
		}
	}
	if times == 0 {
		var found bool
		if text, found = x.Request.Cookie(tokenCookie); !found {
			return t, missingToken
		}
	}
	parts := strings.SplitN(text, "#", 3)
	if times > 1 || len(parts) != 3 || parts[0] != version || strings.ContainsFunc(parts[2], isControl) {
		return t, invalidToken
	}
	return token{strings.Clone(parts[1]), strings.Clone(parts[2])}, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
