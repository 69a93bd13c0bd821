// SPDX-License-Identifier: Apache-2.0

package wolfrbac

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/andogate/ando/modules/outbound"
)

// application is one application of a wolf-server. It is immutable.
type application struct {
	id, server string
	// fields tell the node and the client who the user is: id, name, nickname.
	fields [3]string
	// checks and calls are the clients for permissions and for everything else.
	checks, calls *http.Client
}

// How the server is asked: APISIX's figures.
const (
	checkTimeout = 10 * time.Second
	callTimeout  = 5 * time.Second
	tries        = 3
	betweenTries = 100 * time.Millisecond
)

// maxAnswer bounds an answer of the server, in bytes.
const maxAnswer = 1 << 20

func (a *application) connect(skipVerify bool) (err error) {
	if a.checks, err = outbound.Client(outbound.Options{Timeout: checkTimeout, SkipVerify: skipVerify}); err != nil {
		return err
	}
	a.calls, err = outbound.Client(outbound.Options{Timeout: callTimeout, SkipVerify: skipVerify})
	return err
}

// permission is what the server is asked about.
type permission struct{ method, path, client string }

// verdict is what it answers. Status is 200 when the user may, and no other below 400.
type verdict struct {
	status int
	reason string
	user   user
}

// refusal is the body for a client that is not let in.
func (v *verdict) refusal() []byte {
	return encode(struct {
		Message  string `json:"message,omitempty"`
		Username string `json:"username,omitempty"`
		Nickname string `json:"nickname,omitempty"`
	}{v.reason, v.user.Username, v.user.Nickname})
}

// user is what the server says of a user; without an id and a name it has said nothing.
type user struct {
	ID       id     `json:"id"`
	Username string `json:"username"`
	Nickname string `json:"nickname"`
}

// id is a number or a text.
type id string

// UnmarshalJSON implements json.Unmarshaler.
func (i *id) UnmarshalJSON(raw []byte) error {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return err
	}
	switch value := value.(type) {
	case string:
		*i = id(value)
	case json.Number:
		*i = id(value)
	case nil:
	default:
		return errors.New("an id is a number or a text")
	}
	return nil
}

// fields are the values of the fields that say who the user is, each fit for a field.
func (u *user) fields() [3]string {
	return [...]string{clean(string(u.ID)), clean(u.Username), strings.ReplaceAll(url.QueryEscape(u.Nickname), "+", "%20")}
}

// clean returns text without what a field cannot have.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return -1
		}
		return r
	}, text)
}

// check asks whether the user of a token may. The error says why nobody knows; the verdict refuses then.
func (a *application) check(ctx context.Context, p permission, wolfToken string) (v verdict, err error) {
	query := url.Values{"appID": {a.id}, "resName": {p.path}, "action": {p.method}, "clientIP": {p.client}}
	address := a.server + "/wolf/rbac/access_check?" + query.Encode()
	var status int
	var body []byte
	for try := range tries {
		if try > 0 && !pause(ctx) {
			break
		}
		if status, body, err = a.call(ctx, a.checks, http.MethodGet, address, wolfToken, nil); err != nil || status < 500 {
			break
		}
	}
	switch {
	case err != nil:
		return verdict{status: http.StatusInternalServerError, reason: "request to wolf-server failed, err:" + kind(err)}, err
	case status >= 500:
		reason := fmt.Sprintf("request to wolf-server failed, status:%d", status)
		return verdict{status: http.StatusInternalServerError, reason: reason}, errors.New(reason)
	}
	var answer struct {
		OK     bool   `json:"ok"`
		Reason string `json:"reason"`
		Data   struct {
			User user `json:"userInfo"`
		} `json:"data"`
	}
	malformed := json.Unmarshal(body, &answer) != nil
	v = verdict{status: status, reason: answer.Reason, user: answer.Data.User}
	if v.user.Nickname == "" {
		v.user.Nickname = v.user.Username
	}
	switch {
	case malformed:
		v = verdict{status: status, reason: notJSON}
		if status < 400 {
			v.status = http.StatusInternalServerError
		}
	case status < 400 && (status != http.StatusOK || !answer.OK):
		v.status = http.StatusForbidden
	}
	return v, nil
}

// pause waits before the next try, and reports whether there is to be one.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(betweenTries)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// call asks the server. body may be nil.
func (a *application) call(ctx context.Context, client *http.Client, method, address, wolfToken string, body []byte) (int, []byte, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, reader)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	if wolfToken != "" {
		req.Header.Set("x-rbac-token", wolfToken)
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	answer, err := outbound.ReadAll(res, maxAnswer)
	return res.StatusCode, answer, err
}

// kind tells clients of an error what it has to do with, and nothing of where the server is.
func kind(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	}
	return "closed"
}

func encode(value any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return nil
	}
	return b.Bytes()
}
