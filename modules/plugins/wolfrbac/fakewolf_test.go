// SPDX-License-Identifier: Apache-2.0

package wolfrbac

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// wolf stands for a wolf-server: it has users, gives them tokens, and knows what they may do in an application.
type wolf struct {
	*httptest.Server

	mu sync.Mutex
	// The following is guarded by mu. tokens has the user and the application of each token.
	tokens    map[string][2]string
	passwords map[string]string
	// checks counts permissions that were asked about, last is the last question.
	checks int
	last   string
	// failures is how many checks are answered with 500 from now on; answer answers all in the place of the server.
	failures int
	answer   func(w http.ResponseWriter)
}

func newWolf(t testing.TB) *wolf {
	t.Helper()
	w := &wolf{tokens: map[string][2]string{}, passwords: map[string]string{"jack": "secret", "rose": "s"}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /wolf/rbac/login.rest", w.login)
	mux.HandleFunc("GET /wolf/rbac/access_check", w.check)
	mux.HandleFunc("GET /wolf/rbac/user_info", w.userInfo)
	mux.HandleFunc("POST /wolf/rbac/change_pwd", w.changePassword)
	w.Server = httptest.NewServer(mux)
	t.Cleanup(w.Close)
	return w
}

func (w *wolf) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// seen returns how many permissions were asked about since it was called last, and the last of them.
func (w *wolf) seen() (checks int, last string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	checks, w.checks = w.checks, 0
	return checks, w.last
}

// tokenFor logs a user in.
func (w *wolf) tokenFor(user, app string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	token := fmt.Sprintf("wolf#%s#%d", user, len(w.tokens))
	w.tokens[token] = [2]string{user, app}
	return token
}

func describe(user string) map[string]any {
	described := map[string]any{"id": 100, "username": user, "nickname": "Jäck & co"}
	if user == "rose" {
		described = map[string]any{"id": "r-1", "username": "rose"}
	}
	return described
}

func say(w http.ResponseWriter, status int, value map[string]any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value)
}

func (w *wolf) login(out http.ResponseWriter, r *http.Request) {
	var args struct{ AppID, Username, Password string }
	if json.NewDecoder(r.Body).Decode(&args) != nil {
		say(out, 400, map[string]any{"ok": false})
		return
	}
	w.mu.Lock()
	password, known := w.passwords[args.Username]
	w.mu.Unlock()
	if args.Username == "broken" {
		say(out, 500, map[string]any{"ok": false})
		return
	}
	if !known || password != args.Password {
		say(out, 200, map[string]any{"ok": false, "reason": "ERR_PASSWORD_ERROR"})
		return
	}
	say(out, 200, map[string]any{"ok": true, "data": map[string]any{"token": w.tokenFor(args.Username, args.AppID), "userInfo": describe(args.Username)}})
}

// user returns whose token a request has, and for which application.
func (w *wolf) user(r *http.Request) (user, app string) {
	found := w.tokens[r.Header.Get("x-rbac-token")]
	return found[0], found[1]
}

func (w *wolf) check(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checks++
	query := r.URL.Query()
	w.last = fmt.Sprint(query.Get("appID"), " ", query.Get("action"), " ", query.Get("resName"), " ", query.Get("clientIP"))
	if w.answer != nil {
		w.answer(out)
		return
	}
	if w.failures > 0 {
		w.failures--
		say(out, 500, map[string]any{"ok": false, "reason": "ERR_SERVER_ERROR"})
		return
	}
	user, app := w.user(r)
	if user == "" || app != query.Get("appID") {
		say(out, 401, map[string]any{"ok": false, "reason": "ERR_TOKEN_INVALID"})
		return
	}
	data := map[string]any{"userInfo": describe(user)}
	if user != "jack" && (query.Get("resName") != "/open" || query.Get("action") != "GET") {
		say(out, 403, map[string]any{"ok": false, "reason": "ERR_ACCESS_DENIED", "data": data})
		return
	}
	say(out, 200, map[string]any{"ok": true, "data": data})
}

func (w *wolf) userInfo(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	user, _ := w.user(r)
	if user == "" {
		say(out, 200, map[string]any{"ok": false, "reason": "ERR_TOKEN_INVALID"})
		return
	}
	say(out, 200, map[string]any{"ok": true, "data": map[string]any{"userInfo": describe(user)}})
}

func (w *wolf) changePassword(out http.ResponseWriter, r *http.Request) {
	var args struct{ OldPassword, NewPassword string }
	_ = json.NewDecoder(r.Body).Decode(&args)
	w.mu.Lock()
	defer w.mu.Unlock()
	user, _ := w.user(r)
	if user == "" || w.passwords[user] != args.OldPassword {
		say(out, 200, map[string]any{"ok": false, "reason": "ERR_PASSWORD_ERROR"})
		return
	}
	w.passwords[user] = args.NewPassword
	say(out, 200, map[string]any{"ok": true, "data": map[string]any{}})
}
