// SPDX-License-Identifier: Apache-2.0

package casauth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/outbound"
)

const (
	// stateCookie is the name of the cookie that has what a client asked for before it was sent to log in.
	stateCookie = "CAS_REQUEST_URI"
	// maxState bounds what is kept there, in bytes: browsers drop cookies above 4096. maxTicket bounds a ticket, which is
	// 256 at most (CAS protocol 3.0 section 3.1.1).
	maxState  = 2048
	maxTicket = 256
	// maxAnswer bounds an answer of the server, in bytes.
	maxAnswer = 1 << 20
)

// serviceURL is what the server knows this gateway by. Without one in the config it rests on the Host that the client sent.
func (a *casAuth) serviceURL(x *gateway.Exchange) string {
	if a.service != "" {
		return a.service
	}
	return x.Request.Scheme + "://" + x.Request.Host + ":" + strconv.Itoa(int(x.Request.Local.Port())) + a.callback
}

// sendToLogin sends the client to the server, to come back with a ticket.
func (a *casAuth) sendToLogin(x *gateway.Exchange) gateway.Verdict {
	wanted := x.Request.RequestURI()
	if len(wanted) > maxState {
		wanted = "/"
	}
	a.setCookie(x, stateCookie, a.sign(wanted))
	return redirect(x, a.server+"/login?"+url.Values{"service": {a.serviceURL(x)}}.Encode())
}

// sign returns a text with a signature that holds for this server and callback alone.
func (a *casAuth) sign(text string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(text)) + "." + base64.RawURLEncoding.EncodeToString(a.signature(text))
}

func (a *casAuth) signature(text string) []byte {
	mac := hmac.New(sha256.New, a.secret)
	mac.Write([]byte(a.trust + "|" + text))
	return mac.Sum(nil)
}

// verify returns the text that sign was given.
func (a *casAuth) verify(signed string) (text string, ok bool) {
	encoded, signature, found := strings.Cut(signed, ".")
	decoded, err := base64.RawURLEncoding.DecodeString(encoded)
	given, err2 := base64.RawURLEncoding.DecodeString(signature)
	if !found || err != nil || err2 != nil || !hmac.Equal(given, a.signature(string(decoded))) {
		return "", false
	}
	return string(decoded), true
}

// isSafe reports whether a client that is sent there stays on this site.
func isSafe(target string) bool {
	return strings.HasPrefix(target, "/") && !strings.HasPrefix(target, "//") && !strings.ContainsAny(target, "\\\r\n\t")
}

// comeBack begins the session of a client that the server has sent back with a ticket.
func (a *casAuth) comeBack(x *gateway.Exchange, ticket string, several bool) gateway.Verdict {
	signed, _ := x.Request.Cookie(stateCookie)
	wanted, ok := a.verify(signed)
	if !ok || !isSafe(wanted) {
		return x.Exit(http.StatusUnauthorized, invalidState)
	}
	if several || ticket == "" || len(ticket) > maxTicket {
		return x.Exit(http.StatusUnauthorized, invalidTicket)
	}
	if err := a.validate(x.Context(), ticket, a.serviceURL(x)); err != nil {
		if !errors.Is(err, errRefused) {
			a.log().Error("ticket cannot be validated", zap.String("plugin", name), zap.Error(err))
		}
		return x.Exit(http.StatusUnauthorized, invalidTicket)
	}
	id, ok := sessions.begin(ticket, a.trust, x.Start)
	if !ok {
		return x.Exit(http.StatusUnauthorized, invalidTicket)
	}
	a.setCookie(x, a.sessionCookie, id)
	a.dropCookie(x, stateCookie)
	return redirect(x, wanted)
}

// response is the server's answer about a ticket (CAS protocol 3.0 appendix A).
type response struct {
	XMLName xml.Name `xml:"serviceResponse"`
	Success []struct {
		Users []string `xml:"user"`
	} `xml:"authenticationSuccess"`
	Failure []struct{} `xml:"authenticationFailure"`
}

var (
	errRefused = errors.New("the server refuses the ticket")
	errNoUser  = errors.New("the server's answer names no user")
)

// validate asks the server whether a ticket is a user's. An error that is not errRefused says that nobody knows.
func (a *casAuth) validate(ctx context.Context, ticket, service string) error {
	address := a.server + "/serviceValidate?" + url.Values{"ticket": {ticket}, "service": {service}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	res, err := a.client.Do(req)
	if err != nil {
		// The error of a client names the address, and that the ticket.
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return fmt.Errorf("ask the server: %w", err)
	}
	body, err := outbound.ReadAll(res, maxAnswer)
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers with status %d", res.StatusCode)
	}
	var answer response
	if err := xml.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("the server's answer: %w", err)
	}
	switch {
	case len(answer.Failure) > 0:
		return errRefused
	case len(answer.Success) != 1 || len(answer.Success[0].Users) != 1:
		return errNoUser
	}
	if strings.TrimSpace(answer.Success[0].Users[0]) == "" {
		return errNoUser
	}
	return nil
}
