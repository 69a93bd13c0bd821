// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"io"
	"net/http"
	"testing"
)

func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}

func mustLease(t *testing.T, address string, handler http.Handler) *adminLease {
	t.Helper()
	lease, _, err := leaseAdmin(address, handler)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func ask(t *testing.T, client *http.Client, address string) string {
	t.Helper()
	res, err := client.Get("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// The newest config answers; one that is given up leaves the one before as it was.
func TestNewestLeaseAnswers(t *testing.T) {
	address := "127.0.0.1:" + freePort(t)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	first := mustLease(t, address, says("first"))
	second := mustLease(t, address, says("second"))
	if got := ask(t, client, address); got != "second" {
		t.Errorf("got %s", got)
	}
	second.release()
	if got := ask(t, client, address); got != "first" {
		t.Errorf("got %s", got)
	}
	third := mustLease(t, address, says("third"))
	first.release()
	if got := ask(t, client, address); got != "third" {
		t.Errorf("got %s", got)
	}
	third.release()
	if _, err := client.Get("http://" + address); err == nil {
		t.Error("an address that no config uses still answers")
	}
}

// An address that is given up finishes what it is doing, and can be had again meanwhile.
func TestLastLeaseDrains(t *testing.T) {
	address := "127.0.0.1:" + freePort(t)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	begun, finish := make(chan struct{}), make(chan struct{})
	slow := mustLease(t, address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-finish
		_, _ = io.WriteString(w, "finished")
	}))
	answer, released := make(chan string), make(chan struct{})
	go func() { answer <- ask(t, client, address) }()
	<-begun
	if !slow.listener.drop(slow) {
		t.Fatal("it was not the last lease")
	}
	again := mustLease(t, address, says("again"))
	go func() {
		drain(slow.listener.server)
		close(released)
	}()
	if got := ask(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, address); got != "again" {
		t.Errorf("got %s", got)
	}
	close(finish)
	if got := <-answer; got != "finished" {
		t.Errorf("got %s", got)
	}
	<-released
	again.release()
}

func TestTakenAddress(t *testing.T) {
	address := "127.0.0.1:" + freePort(t)
	other := mustLease(t, address, says("other"))
	defer other.release()
	if ln, err := openAdmin(address); err == nil {
		ln.ln.Close()
		t.Error("an address was bound twice")
	}
}
