// SPDX-License-Identifier: Apache-2.0

package wolfrbac

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	_ "github.com/andogate/ando/modules/plugins/publicapi"

	"github.com/andogate/ando/modules/plugins/plugintest"
)

// consumer returns a consumer for an application.
func consumer(username, config string) gateway.Object {
	return gateway.Object{
		Kind: gateway.Consumers, ID: username,
		Value: json.RawMessage(fmt.Sprintf(`{"username":%q,"plugins":{"wolf-rbac":%s}}`, username, config)),
	}
}

// onEach runs a test for a route with the plugin, with one for the endpoints, and a consumer for the application "shop".
func (w *wolf) onEach(t *testing.T, test func(s *plugintest.Site), more ...gateway.Object) {
	t.Helper()
	shop := consumer("shopkeeper", fmt.Sprintf(`{"appid":"shop","server":"%s/"}`, w.URL))
	api := gateway.Object{
		Kind: gateway.Routes, ID: "api", Value: json.RawMessage(`{"id":"api","uri":"/apisix/plugin/wolf-rbac/*","plugins":{"public-api":{}}}`),
	}
	plugintest.OnEach(t, `{"wolf-rbac":{}}`, test, append([]gateway.Object{shop, api}, more...)...)
}

func message(text string) string { return fmt.Sprintf("{\"message\":%q}\n", text) }

func TestAllowed(t *testing.T) {
	w := newWolf(t)
	token := token{"shop", w.tokenFor("jack", "shop")}.String()
	w.onEach(t, func(s *plugintest.Site) {
		for _, source := range [][2]string{
			{"Authorization", token}, {"X-Rbac-Token", token}, {"Cookie", "a=b; x-rbac-token=" + token + "; c=d"}, {"?rbac_token=" + url.QueryEscape(token), ""},
		} {
			target, fields := "/orders/1", []string{"X-UserId", "1", "x_username", "root", "X-NICKNAME", "root", "X-Consumer-Username", "root"}
			if strings.HasPrefix(source[0], "?") {
				target += source[0]
			} else {
				fields = append(fields, source[:]...)
			}
			got := s.Do("PUT", target, "a body", fields...)
			s.Want(got, 200, "node", true)
			if _, last := w.seen(); last != "shop PUT /orders/1 127.0.0.1" {
				t.Errorf("asked %q", last)
			}
			if s.SawBody != "a body" {
				t.Errorf("node: body %q", s.SawBody)
			}
			for name, want := range map[string]string{"X-Userid": "100", "X-Username": "jack", "X-Nickname": "J%C3%A4ck%20%26%20co"} {
				if sent := s.Saw.Header.Values(name); len(sent) != 1 || sent[0] != want {
					t.Errorf("node: %s %q, want %q", name, sent, want)
				}
				if told := got.Header.Values(name); len(told) != 1 || told[0] != want {
					t.Errorf("client: %s %q, want %q", name, told, want)
				}
			}
			for name := range s.Saw.Header {
				if strings.Contains(name, "_") {
					t.Errorf("node: %s", name)
				}
			}
			if who := s.Saw.Header.Get("X-Consumer-Username"); who != "shopkeeper" {
				t.Errorf("node: consumer %q", who)
			}
		}
	})
}

func TestRefused(t *testing.T) {
	w := newWolf(t)
	wolfToken := w.tokenFor("jack", "shop")
	good := token{"shop", wolfToken}.String()
	rose := token{"shop", w.tokenFor("rose", "shop")}.String()
	w.onEach(t, func(s *plugintest.Site) {
		w.seen()
		s.Want(s.Do("GET", "/", ""), 401, message("Missing rbac token in request"), false)
		for _, malformed := range []string{"", "V1", "V1#shop", "V2#shop#" + wolfToken, "v1#shop#x", "Bearer x", good[1:]} {
			s.Want(s.Do("GET", "/", "", "Authorization", malformed), 401, message("invalid rbac token: parse failed"), false)
		}
		s.Want(s.Do("GET", "/", "", "X-Rbac-Token", good, "Authorization", "Basic eDp5"), 401, message("invalid rbac token: parse failed"), false)
		s.Want(s.Do("GET", "/?rbac_token=V1%23shop%23a%0D%0Ab", ""), 401, message("invalid rbac token: parse failed"), false)
		for _, twice := range [][]string{{"Authorization", good, "Authorization", rose}, {"X-Rbac-Token", good, "X-Rbac-Token", good}} {
			s.Want(s.Do("GET", "/", "", twice...), 401, message("invalid rbac token: parse failed"), false)
		}
		s.Want(s.Do("GET", "/?rbac_token=x&rbac_token="+url.QueryEscape(good), ""), 401, message("invalid rbac token: parse failed"), false)
		for _, app := range []string{"unset", "", "Shop", "$env://SHOP"} {
			s.Want(s.Do("GET", "/", "", "Authorization", token{app, wolfToken}.String()), 401, message("Invalid appid in rbac token"), false)
		}
		if checks, _ := w.seen(); checks != 0 {
			t.Errorf("the server was asked %d times", checks)
		}
		// Tampered with, and of another application.
		s.Want(s.Do("GET", "/", "", "Authorization", good+"x"), 401, message("ERR_TOKEN_INVALID"), false)
		s.Want(s.Do("GET", "/", "", "Authorization", token{"other", wolfToken}.String()), 401, message("ERR_TOKEN_INVALID"), false)
		got := s.Do("GET", "/orders", "", "Authorization", rose)
		s.Want(got, 403, `{"message":"ERR_ACCESS_DENIED","username":"rose","nickname":"rose"}`+"\n", false)
		if got.Header.Get("X-UserId") != "r-1" || got.Header.Get("X-Username") != "rose" {
			t.Errorf("client: %v", got.Header)
		}
		s.Want(s.Do("HEAD", "/open", "", "Authorization", rose), 403, "", false)
	}, consumer("other", fmt.Sprintf(`{"appid":"other","server":%q}`, w.URL)))
}

// TestPathAliases: the server decides about the path that the node gets, however the client spells it.
func TestPathAliases(t *testing.T) {
	w := newWolf(t)
	rose := token{"shop", w.tokenFor("rose", "shop")}.String()
	w.onEach(t, func(s *plugintest.Site) {
		for target, want := range map[string]int{
			"/open": 200, "//open": 200, "/%6fpen": 200, "/x/../open": 200, "/open?x=/orders": 200,
			"/open/../orders": 403, "/open/%2e%2e/orders": 403, "/open;/../orders": 403, "/open;": 403, "/open%2Forders": 403, "/open/": 403, "/open%3f": 403,
			"/open/..%2forders": 400,
		} {
			got := s.Do("GET", target, "", "Authorization", rose)
			s.Want(got, want, plugintest.AnyBody, want == 200)
			if want == 200 && s.Saw.URL.EscapedPath() != "/open" {
				t.Errorf("%s: the node got %s", target, s.Saw.URL)
			}
		}
	})
}

func TestServerFails(t *testing.T) {
	w := newWolf(t)
	jack := token{"shop", w.tokenFor("jack", "shop")}.String()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	w.onEach(t, func(s *plugintest.Site) {
		w.seen()
		w.set(func() { w.failures = 2 })
		s.Want(s.Do("GET", "/", "", "Authorization", jack), 200, "node", true)
		if checks, _ := w.seen(); checks != 3 {
			t.Errorf("the server was asked %d times, want 3", checks)
		}
		w.set(func() { w.failures = 3 })
		s.Want(s.Do("GET", "/", "", "Authorization", jack), 500, message("request to wolf-server failed, status:500"), false)
		s.Want(s.Do("GET", "/", "", "Authorization", "V1#down#x"), 500, message("request to wolf-server failed, err:connection refused"), false)
		for _, c := range []struct {
			status int
			body   string
			want   int
			says   string
		}{
			{200, `{"ok":false,"reason":"ERR_TOKEN_INVALID"}`, 403, message("ERR_TOKEN_INVALID")},
			{200, `{}`, 403, "{}\n"},
			{200, `<html>`, 500, message(notJSON)},
			{200, `{"ok":true,"data":{"userInfo":"jack"}}`, 500, message(notJSON)},
			{200, strings.Repeat(" ", maxAnswer+1), 500, message("request to wolf-server failed, err:closed")},
			{302, `{"ok":true}`, 403, "{}\n"},
			{404, `not found`, 404, message(notJSON)},
			{401, `{"reason":"<&>"}`, 401, `{"message":"<&>"}` + "\n"},
			{200, `{"ok":true}`, 200, "node"},
			{200, `{"ok":true,"data":{"userInfo":{"id":12345678901234567890,"username":"a\r\nX-Admin: 1","nickname":null}}}`, 200, "node"},
		} {
			w.set(func() {
				w.answer = func(out http.ResponseWriter) {
					out.Header().Set("Location", "/elsewhere")
					out.WriteHeader(c.status)
					_, _ = io.WriteString(out, c.body)
				}
			})
			got := s.Do("GET", "/", "", "Authorization", jack, "X-Username", "root")
			s.Want(got, c.want, c.says, c.want == 200)
			if got.Header.Get("Location") != "" {
				t.Errorf("%s: the client is sent elsewhere", c.body)
			}
			if c.want != 200 {
				continue
			}
			want := [2]string{}
			if strings.Contains(c.body, "userInfo") {
				want = [2]string{"12345678901234567890", "aX-Admin: 1"}
			}
			if got := [2]string{s.Saw.Header.Get("X-Userid"), s.Saw.Header.Get("X-Username")}; got != want || s.Saw.Header.Get("X-Admin") != "" {
				t.Errorf("%s: node: %v", c.body, s.Saw.Header)
			}
		}
		w.set(func() { w.answer = nil })
	}, consumer("down", fmt.Sprintf(`{"appid":"down","server":"http://%s"}`, l.Addr())))
}

// TestApplication: a consumer says how its fields begin, and whether the server's certificate counts.
func TestApplication(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"ok":true,"data":{"userInfo":{"id":1,"username":"jack"}}}`)
	}))
	secure.Config.ErrorLog = nil
	t.Cleanup(secure.Close)
	newWolf(t).onEach(t, func(s *plugintest.Site) {
		s.Want(s.Do("GET", "/", "", "Authorization", "V1#strict#x"), 500, message("request to wolf-server failed, err:closed"), false)
		s.Want(s.Do("GET", "/", "", "Authorization", "V1#lax#x", "W-UserId", "2", "Username", "root"), 200, "node", true)
		if s.Saw.Header.Get("W-Userid") != "1" || s.Saw.Header.Get("X-Userid") != "" {
			t.Errorf("node: %v", s.Saw.Header)
		}
		s.Want(s.Do("GET", "/", "", "Authorization", "V1#bare#x", "Username", "root"), 200, "node", true)
		if got := s.Saw.Header.Values("Username"); len(got) != 1 || got[0] != "jack" {
			t.Errorf("node: %v", s.Saw.Header)
		}
	},
		consumer("strict", fmt.Sprintf(`{"appid":"strict","server":%q}`, secure.URL)),
		consumer("lax", fmt.Sprintf(`{"appid":"lax","server":%q,"ssl_verify":false,"header_prefix":"W-"}`, secure.URL)),
		consumer("bare", fmt.Sprintf(`{"appid":"bare","server":%q,"ssl_verify":false,"header_prefix":""}`, secure.URL)))
}

func TestEndpoints(t *testing.T) {
	const prefix = "/apisix/plugin/wolf-rbac/"
	w := newWolf(t)
	w.onEach(t, func(s *plugintest.Site) {
		w.set(func() { w.passwords["jack"] = "secret" })
		login := func(kind, body string) plugintest.Answer {
			return s.Do("POST", prefix+"login", body, "Content-Type", kind)
		}
		const asJSON, asForm = "application/json; charset=utf-8", "application/x-www-form-urlencoded"
		var given struct {
			Token string         `json:"rbac_token"`
			User  map[string]any `json:"user_info"`
		}
		for _, body := range [][2]string{
			{asJSON, `{"appid":"shop","username":"jack","password":"secret"}`}, {asForm, "appid=shop&username=jack&password=secret"}, {"", "appid=shop&username=jack&password=secret"},
		} {
			got := login(body[0], body[1])
			if err := json.Unmarshal([]byte(got.Body), &given); got.Status != 200 || err != nil || given.User["username"] != "jack" || got.Header.Get("Cache-Control") != "no-store" {
				t.Fatalf("%s: got %d %q", body[0], got.Status, got.Body)
			}
			s.Want(s.Do("GET", "/orders", "", "Authorization", given.Token), 200, "node", true)
		}
		for _, c := range []struct {
			kind, body string
			status     int
			says       string
		}{
			{asJSON, `{`, 400, "invalid request"},
			{asJSON, ``, 400, "invalid request"},
			{asJSON, `"shop"`, 400, "invalid request"},
			{asJSON, `{}`, 400, "appid is missing"},
			{asJSON, `{"appid":null}`, 400, "appid is missing"},
			{asJSON, `{"appid":7}`, 400, "appid not found"},
			{asForm, ``, 400, "appid is missing"},
			{asForm, `appid=shop&appid=shop`, 400, "appid not found"},
			{asForm, `appid=none`, 400, "appid not found"},
			{asForm, `appid=shop&username=jack&password=wrong`, 200, "request to wolf-server failed!"},
			{asForm, `appid=shop&username=broken`, 500, "request to wolf-server failed!"},
			{asForm, `appid=down`, 500, "request to wolf-server failed!"},
		} {
			s.Want(login(c.kind, c.body), c.status, message(c.says), false)
		}

		s.Want(s.Do("GET", prefix+"user_info", "", "Authorization", given.Token), 200, `{"user_info":{"id":100,"nickname":"Jäck & co","username":"jack"}}`+"\n", false)
		s.Want(s.Do("GET", prefix+"user_info?rbac_token="+url.QueryEscape(given.Token), ""), 200, plugintest.AnyBody, false)
		s.Want(s.Do("GET", prefix+"user_info", ""), 401, message("Missing rbac token in request"), false)
		s.Want(s.Do("GET", prefix+"user_info", "", "Authorization", "x"), 401, message("invalid rbac token: parse failed"), false)
		s.Want(s.Do("GET", prefix+"user_info", "", "Authorization", "V1#none#x"), 400, message("appid not found"), false)
		s.Want(s.Do("GET", prefix+"user_info", "", "Authorization", given.Token+"x"), 200, message("request to wolf-server failed!"), false)

		change := func(body string, fields ...string) plugintest.Answer {
			return s.Do("PUT", prefix+"change_pwd", body, append(fields, "Content-Type", asJSON)...)
		}
		cookie := "x-rbac-token=" + given.Token
		s.Want(change(`{"oldPassword":"wrong","newPassword":"n"}`, "Cookie", cookie), 200, message("request to wolf-server failed!"), false)
		s.Want(change(`{"oldPassword":"secret","newPassword":"n"}`, "Cookie", cookie), 200, message("success to change password"), false)
		s.Want(change(`{}`), 401, message("Missing rbac token in request"), false)
		s.Want(login(asForm, "appid=shop&username=jack&password=secret"), 200, message("request to wolf-server failed!"), false)
		s.Want(login(asForm, "appid=shop&username=jack&password=n"), 200, plugintest.AnyBody, false)

		for _, other := range [][2]string{{"GET", "login"}, {"POST", "change_pwd"}, {"POST", "user_info"}, {"POST", "login/"}, {"POST", "logout"}} {
			s.Want(s.Do(other[0], prefix+other[1], ""), 404, plugintest.AnyBody, false)
		}
	}, consumer("down", `{"appid":"down","server":"http://127.0.0.1:1"}`))
}

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{}`, ""},
		{`{"appid":"a","server":"https://wolf.test/base/","header_prefix":"","ssl_verify":true}`, ""},
		{`{"appid":1}`, `property "appid" validation failed: wrong type: expected string, got number`},
		{`{"ssl_verify":"yes"}`, `property "ssl_verify" validation failed: wrong type: expected boolean, got string`},
		{`{"server":"wolf:12180"}`, `property "server" validation failed: "wolf:12180" is not an http or https URL`},
		{`{"header_prefix":"X: a\r\n"}`, `property "header_prefix" validation failed: "X: a\r\n" cannot begin the name of a field`},
	})
}
