package abuse_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/ldaptest"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// certificate makes one that is its own authority, in PEM form.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := clock.System{}.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// directory lets auth/ldap/ ask a real directory with the user askia.
func (w *world) directory() *ldaptest.Server {
	w.t.Helper()
	dir := ldaptest.Start(w.t)
	dir.Person("askia", "right-password")
	w.Must(http.StatusNoContent, http.MethodPost, "auth/ldap/config", map[string]any{
		"url": dir.URL, "userdn": ldaptest.UserDN, "userattr": "uid", "binddn": ldaptest.ServiceDN, "bindpass": ldaptest.ServicePW,
	})
	return dir
}

// TestD4_D5_OneUserOfADirectory tries every spelling of a user's name: all together
// have the tries of one, and those that log in are one entity.
func TestD4_D5_OneUserOfADirectory(t *testing.T) {
	clk := clock.NewFake(clock.System{}.Now()) // the directory lives in the present
	w := newWorld(t, servertest.Options{Clock: clk})
	w.directory()
	names := append(spelled("askia"), "%ef%bd%81skia", "a%c5%bfkia", "as%e2%84%aaia")
	tries := 0
	for _, name := range names {
		before := w.locked("askia")
		_ = w.wirePost("/v1/auth/ldap/login/"+name, `{"password":"wrong-password"}`)
		if !before {
			tries++
		}
	}
	if !w.locked("askia") || tries > attempts {
		t.Fatalf("after %d tries the user is locked out: %t", tries, w.locked("askia"))
	}
	for _, name := range names {
		if got := w.wirePost("/v1/auth/ldap/login/"+name, `{"password":"right-password"}`); got == http.StatusOK {
			t.Errorf("%q logs in while the user is locked out", name)
		}
	}
	clk.Advance(15*time.Minute + time.Second)
	entities, logins := map[any]bool{}, 0
	for _, name := range names {
		a := w.Do(http.MethodPost, "auth/ldap/login/"+name, "", `{"password":"right-password"}`)
		if a.Status == http.StatusOK {
			auth, _ := a.JSON()["auth"].(map[string]any)
			entities[auth["entity_id"]] = true
			logins++
		}
	}
	if len(entities) != 1 || logins < 32 {
		t.Errorf("%d spellings log in, as %d entities", logins, len(entities))
	}
}

// TestD7_UnknownUsersOfADirectory compares whole answers.
func TestD7_UnknownUsersOfADirectory(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.directory()
	ask := func(name string) string {
		a := w.Do(http.MethodPost, "auth/ldap/login/"+name, "", map[string]any{"password": "wrong-password"})
		h := a.Header.Clone()
		h.Del("Date")
		return fmt.Sprint(a.Status, h, string(a.Body))
	}
	want := ask("askia")
	for _, name := range []string{"absent", "ABSENT", "a.b@c", url.PathEscape("a*"), url.PathEscape(")(uid=*")} {
		if diff := cmp.Diff(want, ask(name)); diff != "" {
			t.Errorf("a login as %q tells more (-wrong password +this):\n%s", name, diff)
		}
	}
}

// TestD1_PoliciesOfMethods gives every setting that takes names of policies those
// that could become root.
func TestD1_PoliciesOfMethods(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	jwt := map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "x"}
	pod := map[string]any{"bound_service_account_names": "x", "bound_service_account_namespaces": "x"}
	pem := map[string]any{"certificate": certificate(t)}
	settings := []struct {
		path  string
		with  map[string]any
		field string
	}{
		{"auth/jwt/role/r", jwt, "token_policies"}, {"auth/jwt/role/r", jwt, "policies"}, {"auth/kubernetes/role/r", pod, "token_policies"}, {"auth/kubernetes/role/r", pod, "policies"},
		{"auth/cert/certs/r", pem, "token_policies"}, {"auth/cert/certs/r", pem, "policies"}, {"auth/ldap/config", nil, "token_policies"}, {"auth/ldap/groups/r", nil, "policies"}, {"auth/ldap/users/r", nil, "policies"},
	}
	for _, s := range settings {
		for _, name := range []string{"r\u043e\u043et", "ro\u043et", "\uff52oot", "root\x00", "ro ot", "../root", "a/../root", "root/", "roo\u0074\u0301"} {
			body := map[string]any{s.field: []string{name}}
			for k, v := range s.with {
				body[k] = v
			}
			if a := w.Do(http.MethodPost, s.path, servertest.RootToken, body); a.Status != http.StatusBadRequest {
				t.Errorf("%s %s=%q: got %s", s.path, s.field, name, a)
			}
		}
		for _, name := range []string{" Reader ", "READER"} { // harmless: the folded name
			body := map[string]any{s.field: []string{name}}
			for k, v := range s.with {
				body[k] = v
			}
			w.Must(http.StatusNoContent, http.MethodPost, s.path, body)
			read := w.Must(http.StatusOK, http.MethodGet, s.path, nil)
			if !strings.Contains(string(read.Body), `["reader"]`) {
				t.Errorf("%s %s=%q: got %s", s.path, s.field, name, read)
			}
		}
	}
}
