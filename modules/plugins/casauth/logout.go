// SPDX-License-Identifier: Apache-2.0

package casauth

import (
	"bytes"
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// logout ends the client's session here and sends it to the server, which ends its own.
func (a *casAuth) logout(x *gateway.Exchange) gateway.Verdict {
	id, found := x.Request.Cookie(a.sessionCookie)
	if !found {
		return x.Exit(http.StatusUnauthorized, nil)
	}
	sessions.end(id, a.trust)
	a.dropCookie(x, a.sessionCookie)
	return redirect(x, a.server+"/logout")
}

// endSession ends the session of which the server says that its user has logged out elsewhere.
func (a *casAuth) endSession(x *gateway.Exchange) gateway.Verdict {
	body, err := x.Body()
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge):
		return x.Exit(http.StatusRequestEntityTooLarge, nil)
	case err != nil:
		return x.Exit(http.StatusBadRequest, nil)
	}
	ticket := ticketIn(body)
	if ticket == "" {
		return x.Exit(http.StatusBadRequest, noTicket)
	}
	sessions.endTicket(ticket, a.trust)
	return x.Exit(http.StatusOK, nil)
}

// ticketIn returns the ticket in a message about a logout: its SessionIndex. The message is the body, or the field
// logoutRequest of a form (CAS protocol 3.0 section 2.3.3). Empty is none.
func ticketIn(body []byte) string {
	message := bytes.TrimSpace(body)
	if !bytes.HasPrefix(message, []byte("<")) {
		form, _ := url.ParseQuery(string(message))
		message = []byte(form.Get("logoutRequest"))
	}
	decoder := xml.NewDecoder(bytes.NewReader(message))
	// Servers are known to leave out where their prefixes come from.
	decoder.Strict = false
	for {
		token, err := decoder.Token()
		if err != nil {
			return ""
		}
		if element, ok := token.(xml.StartElement); ok && element.Name.Local == "SessionIndex" {
			var ticket string
			if decoder.DecodeElement(&ticket, &element) != nil {
				return ""
			}
			return strings.TrimSpace(ticket)
		}
	}
}
