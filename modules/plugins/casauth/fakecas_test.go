// SPDX-License-Identifier: Apache-2.0

package casauth

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// cas stands for a CAS server where "jack" is logged in: /login sends him back with a ticket at once. Tickets are good for
// one validation, for the service that they were given for.
type cas struct {
	*httptest.Server

	mu sync.Mutex
	// The following is guarded by mu. tickets has the service of each ticket that was not validated yet.
	tickets map[string]string
	given   int
	// validated counts validations; answer answers them in the place of the server.
	validated int
	answer    http.HandlerFunc
}

func newCAS(t testing.TB) *cas {
	t.Helper()
	c := &cas{tickets: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cas/login", func(w http.ResponseWriter, r *http.Request) {
		service, err := url.Parse(r.URL.Query().Get("service"))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		query := service.Query()
		query.Set("ticket", c.ticketFor(service.String()))
		service.RawQuery = query.Encode()
		http.Redirect(w, r, service.String(), http.StatusFound)
	})
	mux.HandleFunc("GET /cas/serviceValidate", c.validate)
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

func (c *cas) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// asked returns how many tickets were validated since it was called last.
func (c *cas) asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.validated
	c.validated = 0
	return n
}

func (c *cas) ticketFor(service string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given++
	ticket := fmt.Sprintf("ST-%d-a+b/c=&<%s>", c.given, strings.TrimPrefix(c.URL, "http://"))
	c.tickets[ticket] = service
	return ticket
}

const (
	success = `<cas:serviceResponse xmlns:cas='http://www.yale.edu/tp/cas'><cas:authenticationSuccess>
		<cas:user>%s</cas:user><cas:attributes><cas:user>admin</cas:user></cas:attributes></cas:authenticationSuccess></cas:serviceResponse>`
	failure = `<cas:serviceResponse xmlns:cas='http://www.yale.edu/tp/cas'><cas:authenticationFailure code="%s">
		Ticket %s not recognized</cas:authenticationFailure></cas:serviceResponse>`
)

func (c *cas) validate(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.validated++
	if c.answer != nil {
		c.answer(w, r)
		return
	}
	ticket := r.URL.Query().Get("ticket")
	service, known := c.tickets[ticket]
	delete(c.tickets, ticket)
	switch {
	case !known:
		_, _ = fmt.Fprintf(w, failure, "INVALID_TICKET", escaped(ticket))
	case service != r.URL.Query().Get("service"):
		_, _ = fmt.Fprintf(w, failure, "INVALID_SERVICE", escaped(ticket))
	default:
		_, _ = fmt.Fprintf(w, success, "jack")
	}
}

func escaped(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text))
	return b.String()
}

// logoutMessage is what the server sends to the callback when the user of a ticket has logged out.
func logoutMessage(ticket string) string {
	return `<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="LR-1" Version="2.0">
		<saml:NameID xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">jack</saml:NameID>
		<samlp:SessionIndex>` + escaped(ticket) + `</samlp:SessionIndex></samlp:LogoutRequest>`
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}
