// SPDX-License-Identifier: Apache-2.0

package directory_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/plugins/directory"
	"github.com/andogate/ando/modules/plugins/directory/directorytest"
)

func TestAddress(t *testing.T) {
	for _, c := range []struct {
		text     string
		security directory.Security
		want     string
	}{
		{"h", directory.Plain, "h:389"},
		{"h:1389", directory.Plain, "h:1389"},
		{"h:", directory.LDAPS, "h:636"},
		{"ldaps://h", directory.LDAPS, "h:636"},
		{"ldap://h:1/", directory.StartTLS, "h:1"},
		{"::1", directory.Plain, "[::1]:389"},
		{"[::1]:7", directory.Plain, "[::1]:7"},
		{"", directory.Plain, ""},
		{"http://h", directory.Plain, ""},
	} {
		if got, err := directory.Address(c.text, c.security); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q: got %q, %v, want %q", c.text, got, err, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	for dn, want := range map[string]string{
		"CN=a, OU=b ,dc=C": "cn=a,ou=b,dc=C", "cn=a,ou=b,dc=C": "cn=a,ou=b,dc=C", `cn=Doe\2C Rose`: `cn=Doe\, Rose`, "no name": "no name",
	} {
		if got := directory.NormalDN(dn); got != want {
			t.Errorf("%s: got %s, want %s", dn, got, want)
		}
	}
	if got, want := directory.UserDN("cn", `x,ou=admins`, "dc=a"), `cn=x\,ou\=admins,dc=a`; directory.NormalDN(got) != directory.NormalDN(want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

const timeout = 20 * time.Second

// TestServer asks a real directory, on connections of each kind, fresh and idle ones.
func TestServer(t *testing.T) {
	server := directorytest.Start(t, false)
	jack := "cn=Jack Doe," + directorytest.Users
	rose := `cn=Doe\2C Rose,` + directorytest.Users
	for name, s := range map[string]directory.Server{
		"plain":     {Addr: server.Addr},
		"start TLS": {Addr: server.Addr, Security: directory.StartTLS, SkipVerify: true},
		"LDAPS":     {Addr: server.TLSAddr, Security: directory.LDAPS, SkipVerify: true, Idle: 2, IdleTimeout: time.Minute},
		"kept":      {Addr: server.Addr, Idle: 1, IdleTimeout: time.Minute},
		"brief":     {Addr: server.Addr, Idle: 1, IdleTimeout: time.Nanosecond},
	} {
		s.Timeout = timeout
		for range 2 {
			for _, c := range []struct {
				dn, password string
				want         error
			}{
				{jack, "jacks secret", nil},
				{strings.ToUpper(jack), "jacks secret", nil},
				{jack, "wrong", directory.ErrCredentials},
				{jack, "", directory.ErrCredentials},
				{"", "", directory.ErrCredentials},
				{rose, "roses:secret", nil},
				{"cn=nobody," + directorytest.Users, "x", directory.ErrCredentials},
				{"no name", "x", directory.ErrCredentials},
			} {
				if err := s.Login(t.Context(), c.dn, c.password); !errors.Is(err, c.want) {
					t.Errorf("%s: login as %q with %q: got %v, want %v", name, c.dn, c.password, err, c.want)
				}
			}
			for _, bindDN := range []string{"", directorytest.Admin} {
				search := directory.Search{
					BindDN: bindDN, Password: directorytest.AdminPassword, BaseDN: directorytest.Users, Attribute: "uid", SizeLimit: 2, TimeLimit: 5,
				}
				for _, c := range []struct {
					user, password, dn string
					want               error
				}{
					{"jack", "jacks secret", jack, nil},
					{"jack", "wrong", "", directory.ErrCredentials},
					{"jack", "", "", directory.ErrCredentials},
					{"", "x", "", directory.ErrCredentials},
					{"j*", "jacks secret", "", directory.ErrCredentials},
					{"*)(uid=jack", "jacks secret", "", directory.ErrCredentials},
					{`a*(b)\c`, "roses:secret", rose, nil},
					{"twin", "twins", "", directory.ErrAmbiguous},
				} {
					dn, err := s.Find(t.Context(), search, c.user, c.password)
					if !errors.Is(err, c.want) || err == nil && directory.NormalDN(dn) != directory.NormalDN(c.dn) {
						t.Errorf("%s: find %q: got %q, %v, want %q, %v", name, c.user, dn, err, c.dn, c.want)
					}
				}
			}
		}
	}
	for name, s := range map[string]directory.Server{
		"certificate of LDAPS":    {Addr: server.TLSAddr, Security: directory.LDAPS, Timeout: timeout},
		"certificate of StartTLS": {Addr: server.Addr, Security: directory.StartTLS, Timeout: timeout},
	} {
		if err := s.Login(t.Context(), jack, "jacks secret"); err == nil || errors.Is(err, directory.ErrCredentials) {
			t.Errorf("%s: got %v, want it not to be trusted", name, err)
		}
	}
	wrong := directory.Search{BindDN: directorytest.Admin, Password: "wrong", BaseDN: directorytest.Users, Attribute: "uid"}
	if _, err := (directory.Server{Addr: server.Addr, Timeout: timeout}).Find(t.Context(), wrong, "jack", "jacks secret"); err == nil || errors.Is(err, directory.ErrCredentials) {
		t.Errorf("wrong service account: got %v, want an error that is not the user's", err)
	}
}

// TestSilence: a server that does not answer holds nobody up for longer than the client stays, or the time is.
func TestSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := directory.Server{Addr: l.Addr().String(), Timeout: time.Hour}
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			_, _ = c.Read(make([]byte, 1))
			leave()
			<-t.Context().Done()
		}
	}()
	if err := s.Login(ctx, "cn=a", "b"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.Timeout = time.Millisecond
	if err := s.Login(t.Context(), "cn=a", "b"); err == nil || errors.Is(err, directory.ErrCredentials) {
		t.Errorf("got %v", err)
	}
	_ = l.Close()
	if err := s.Login(t.Context(), "cn=a", "b"); err == nil || errors.Is(err, directory.ErrCredentials) {
		t.Errorf("got %v", err)
	}
}
