// SPDX-License-Identifier: Apache-2.0

package authzkeycloak

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// keycloak stands for a Keycloak with one realm: its tokens are signed, its resources have URIs and scopes, and its
// answers are those of the authorization services.
type keycloak struct {
	*httptest.Server
	key []byte

	mu sync.Mutex
	// The following is guarded by mu.

	// served counts what was asked for: "discovery", "resources", and the token endpoint by grant.
	served map[string]int
	questions
	// expiresIn and refreshExpiresIn are told with a service account's tokens; 0 is not told.
	expiresIn, refreshExpiresIn int
	// refreshToken is the one that is good; withoutRefresh gives none.
	refreshToken   string
	withoutRefresh bool
	// protection are the service account's access tokens that are good.
	protection map[string]bool
	// answer, when it is not nil, answers in the place of the token endpoint's decisions.
	answer http.HandlerFunc
	// document is the discovery document; nil answers 500.
	document map[string]string
}

// questions are what was asked last: the form that asked for a decision, and the URI that was looked up.
type questions struct{ asked, lookup string }

func (k *keycloak) last() questions {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.questions
}

// resource is one that is protected.
type resource struct {
	uris []string
	// users are who may, by scope; "" is any scope.
	users map[string][]string
}

var resources = map[string]resource{
	"r-course": {[]string{"/course/*"}, map[string][]string{"GET": {"teacher", "student"}, "DELETE": {"teacher"}, "": {"teacher", "student"}, "view": {"teacher", "student"}}},
	"r-admin":  {[]string{"/admin/*"}, map[string][]string{"GET": {"teacher"}, "": {"teacher"}}},
	"r-public": {[]string{"/public/*"}, map[string][]string{"GET": {"teacher", "student"}, "": {"teacher", "student"}}},
}

const clientSecret = "the client's secret"

func newKeycloak(t testing.TB) *keycloak {
	t.Helper()
	k := &keycloak{key: []byte("the realm's key"), served: map[string]int{}, protection: map[string]bool{}, expiresIn: 300, refreshExpiresIn: 1800}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /realms/u/.well-known/uma2-configuration", k.discover)
	mux.HandleFunc("POST /realms/u/protocol/openid-connect/token", k.token)
	mux.HandleFunc("GET /realms/u/authz/protection/resource_set", k.resourceSet)
	k.Server = httptest.NewServer(mux)
	t.Cleanup(k.Close)
	k.document = map[string]string{"token_endpoint": k.tokenURL(), "resource_registration_endpoint": k.resourceURL(), "issuer": k.URL + "/realms/u"}
	return k
}

func (k *keycloak) tokenURL() string { return k.URL + "/realms/u/protocol/openid-connect/token" }

func (k *keycloak) resourceURL() string { return k.URL + "/realms/u/authz/protection/resource_set" }

func (k *keycloak) discoveryURL() string { return k.URL + "/realms/u/.well-known/uma2-configuration" }

// set changes what the server does.
func (k *keycloak) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

// count returns how often something was asked for, and begins to count anew.
func (k *keycloak) count(what string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.served[what]
	k.served[what] = 0
	return n
}

func (k *keycloak) sign(user string, until time.Time) string {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": user, "exp": until.Unix()}).SignedString(k.key)
	if err != nil {
		panic(err)
	}
	return token
}

// tokenOf returns a good token of a user.
func (k *keycloak) tokenOf(user string) string { return k.sign(user, time.Now().Add(time.Hour)) }

// userOf returns whose token a request has; empty for none that is good.
func (k *keycloak) userOf(r *http.Request) string {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	token, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return k.key, nil }, jwt.WithValidMethods([]string{"HS256"}))
	if err != nil {
		return ""
	}
	user, _ := token.Claims.GetSubject()
	return user
}

func reply(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

func refuse(w http.ResponseWriter, status int, what, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"error":%q,"error_description":%q}`, what, why)
}

func (k *keycloak) discover(w http.ResponseWriter, _ *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.served["discovery"]++
	if k.document == nil {
		refuse(w, http.StatusInternalServerError, "unknown_error", "")
		return
	}
	reply(w, http.StatusOK, k.document)
}

func (k *keycloak) token(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r.ParseForm() != nil || r.Header.Get("Content-Type") != formType {
		refuse(w, http.StatusBadRequest, "invalid_request", "")
		return
	}
	grant := r.PostForm.Get("grant_type")
	k.served[grant]++
	if grant == "urn:ietf:params:oauth:grant-type:uma-ticket" {
		k.decide(w, r)
		return
	}
	if r.PostForm.Get("client_id") != "course_management" || r.PostForm.Get("client_secret") != clientSecret {
		refuse(w, http.StatusUnauthorized, "unauthorized_client", "Invalid client or Invalid client credentials")
		return
	}
	switch grant {
	case "password":
		if r.PostForm.Get("username") != "teacher" || r.PostForm.Get("password") != "p&=%+ß" {
			refuse(w, http.StatusUnauthorized, "invalid_grant", "Invalid user credentials")
			return
		}
		reply(w, http.StatusOK, map[string]any{"access_token": k.tokenOf("teacher"), "expires_in": 300, "token_type": "Bearer"})
		return
	case "refresh_token":
		if r.PostForm.Get("refresh_token") != k.refreshToken || k.refreshToken == "" {
			refuse(w, http.StatusBadRequest, "invalid_grant", "Token is not active")
			return
		}
	case "client_credentials":
	default:
		refuse(w, http.StatusBadRequest, "unsupported_grant_type", "Unsupported grant_type")
		return
	}
	k.refreshToken = fmt.Sprintf("refresh-%d", len(k.protection))
	access := fmt.Sprintf("protection-%d", len(k.protection))
	k.protection[access] = true
	answer := map[string]any{"access_token": access, "token_type": "Bearer"}
	if !k.withoutRefresh {
		answer["refresh_token"] = k.refreshToken
	}
	if k.expiresIn > 0 {
		answer["expires_in"] = k.expiresIn
	}
	if k.refreshExpiresIn > 0 {
		answer["refresh_expires_in"] = k.refreshExpiresIn
	}
	reply(w, http.StatusOK, answer)
}

// decide is the uma-ticket grant with response_mode=decision.
func (k *keycloak) decide(w http.ResponseWriter, r *http.Request) {
	k.asked = r.PostForm.Encode()
	if k.answer != nil {
		k.answer(w, r)
		return
	}
	user := k.userOf(r)
	if user == "" {
		refuse(w, http.StatusUnauthorized, "invalid_grant", "Invalid bearer token")
		return
	}
	if r.PostForm.Get("audience") != "course_management" || r.PostForm.Get("response_mode") != "decision" {
		refuse(w, http.StatusBadRequest, "invalid_request", "")
		return
	}
	wanted := r.PostForm["permission"]
	if len(wanted) == 0 {
		wanted = slices.Collect(maps.Keys(resources))
	}
	allowed := false
	for _, permission := range wanted {
		id, scopes, _ := strings.Cut(permission, "#")
		found, ok := resources[id]
		if !ok {
			refuse(w, http.StatusBadRequest, "invalid_resource", "Resource with id ["+id+"] does not exist.")
			return
		}
		for scope := range strings.SplitSeq(scopes, ",") {
			allowed = allowed || slices.Contains(found.users[strings.TrimSpace(scope)], user)
		}
	}
	if !allowed {
		refuse(w, http.StatusForbidden, "access_denied", "not_authorized")
		return
	}
	reply(w, http.StatusOK, map[string]bool{"result": true})
}

func (k *keycloak) resourceSet(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.served["resources"]++
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !k.protection[token] {
		refuse(w, http.StatusUnauthorized, "invalid_bearer_token", "")
		return
	}
	if r.URL.Query().Get("matchingUri") != "true" {
		refuse(w, http.StatusBadRequest, "invalid_request", "")
		return
	}
	k.lookup = r.URL.Query().Get("uri")
	ids := []string{}
	for id, found := range resources {
		for _, pattern := range found.uris {
			if matched, _ := path.Match(pattern, k.lookup); matched {
				ids = append(ids, id)
			}
		}
	}
	reply(w, http.StatusOK, ids)
}
