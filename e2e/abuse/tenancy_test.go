package abuse_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
)

// foreign makes a token of another namespace in the store, with a lease, as a
// second namespace would.
func (w *world) foreign() (e *token.Entry, text string) {
	w.t.Helper()
	e, text, err := w.Gate().Tokens.Create(context.Background(), token.Entry{
		NS: 2, Policies: []string{"root"}, Path: "auth/token/create", DisplayName: "token", Type: token.Service, TTL: time.Hour, Renewable: true,
	}, "", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return e, text
}

// TestB2_HandlesOfAnotherNamespace tries a token and an accessor of another
// namespace at every endpoint that takes one, as root of this one.
func TestB2_HandlesOfAnotherNamespace(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	e, text := w.foreign()
	before := w.rows()
	for _, path := range []string{
		"auth/token/lookup", "auth/token/renew", "auth/token/revoke", "auth/token/revoke-orphan", "sys/capabilities",
		"auth/token/lookup-accessor", "auth/token/renew-accessor", "auth/token/revoke-accessor", "sys/capabilities-accessor",
		"auth/token/renew/" + text, "sys/wrapping/lookup", "sys/wrapping/unwrap", "sys/wrapping/rewrap",
	} {
		a := w.Do(http.MethodPost, path, servertest.RootToken, map[string]any{"token": text, "accessor": e.Accessor, "paths": "secret/x"})
		if a.Status/100 == 2 && !strings.Contains(path, "revoke") || strings.Contains(string(a.Body), `"policies":["root"]`) {
			t.Errorf("POST %s: got %s, want a refusal", path, a)
		}
	}
	a := w.Must(http.StatusOK, "LIST", "auth/token/accessors", nil)
	for _, accessor := range list(a.Data()["keys"]) {
		if accessor == e.Accessor {
			t.Error("the accessor of another namespace is listed")
		}
	}
	if diff := difference(before, w.rows()); len(diff) > 0 {
		t.Errorf("the other namespace's token was touched: %v", diff)
	}
	for _, e := range w.endpoints() {
		if e.Public {
			continue
		}
		if a := w.ask(e, text, nil); a.Status != http.StatusForbidden {
			t.Errorf("%s with a root token of another namespace: got %s, want 403", e, a)
		}
	}
}

// TestB3_B4_LeasesOfAnotherNamespace sends the id of another namespace's lease
// to every endpoint that takes one: in the path, in the body, in both, and as
// every type.
func TestB3_B4_LeasesOfAnotherNamespace(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	own := w.Must(http.StatusOK, http.MethodGet, "fault/creds/mine?ttl=1h", nil)
	ownID, _ := own.JSON()["lease_id"].(string)
	id := w.foreignLease(ownID)
	before := w.rows()
	var bodies []any
	for _, v := range []any{id, id + "/", []string{id}, 7, true, nil, map[string]string{"id": id}} {
		bodies = append(bodies, map[string]any{"lease_id": v, "increment": 60, "sync": true}, map[string]any{"url_lease_id": v, "sync": true})
	}
	prefix := id[:strings.LastIndexByte(id, '/')]
	for _, base := range []string{"sys/leases/lookup", "sys/leases/renew", "sys/leases/revoke", "sys/renew", "sys/revoke"} {
		for _, path := range []string{base, base + "/" + id, base + "/" + id + "/"} {
			for _, body := range append(bodies, nil, map[string]any{"lease_id": "fault/creds/other/x"}) {
				for _, verb := range []string{http.MethodPost, http.MethodPut} {
					a := w.Do(verb, path, servertest.RootToken, body)
					if a.Status/100 == 5 || a.Status/100 == 2 && !strings.Contains(path, "revoke") {
						t.Errorf("%s %s %v: got %s, want a refusal", verb, path, body, a)
					}
				}
			}
		}
	}
	for _, base := range []string{"sys/leases/revoke-prefix/", "sys/leases/revoke-force/", "sys/revoke-prefix/", "sys/revoke-force/"} {
		for _, p := range []string{prefix, prefix + "/", id, "fault/creds/theirs"} {
			if a := w.Do(http.MethodPost, base+p, servertest.RootToken, map[string]any{"sync": true}); a.Status/100 == 5 {
				t.Errorf("POST %s%s: got %s", base, p, a)
			}
		}
	}
	for _, p := range []string{"sys/leases/lookup/" + prefix, "sys/leases/lookup/fault/creds/theirs"} {
		if a := w.Do("LIST", p, servertest.RootToken, nil); a.Status != http.StatusNotFound {
			t.Errorf("LIST %s: got %s, want 404", p, a)
		}
	}
	if diff := difference(before, w.rows()); len(diff) > 0 {
		t.Errorf("leases were touched: %v", diff)
	}
	if w.Fault.tried() > 0 {
		t.Error("the engine was asked to revoke")
	}
}

// foreignLease copies a lease to another namespace, under a path of its own.
func (w *world) foreignLease(id string) string {
	w.t.Helper()
	parts := strings.Split(id, "/")
	theirs := append([]string{"fault", "creds", "theirs"}, parts[len(parts)-1])
	w.update(func(tx store.Txn) error {
		b, err := tx.Get(store.NewKey(store.RootNamespace, store.System, store.KindLease, parts...))
		if err != nil {
			return err
		}
		return tx.Put(store.NewKey(2, store.System, store.KindLease, theirs...), b)
	})
	return strings.Join(theirs, "/")
}

// TestB1_NamesDoNotReachOtherRows: names that would climb or split a joined key
// are refused wherever a policy or a thing is named.
func TestB1_NamesDoNotReachOtherRows(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.user("ann", "first-password", nil)
	w.Must(http.StatusNoContent, http.MethodPost, "auth/approle/role/r", map[string]any{"token_policies": "x"})
	before := w.rows()
	for _, name := range []string{"../admin", "../2/admin", "a/b", "a\x00b", "a\nb", "..", "a\\b", "admin/..", "/admin", "admin/"} {
		for path, body := range policyFields(name) {
			if a := w.Do(http.MethodPost, path, servertest.RootToken, body); a.Status != http.StatusBadRequest {
				t.Errorf("POST %s with policy %q: got %s, want 400", path, name, a)
			}
		}
	}
	if diff := difference(before, w.rows()); len(diff) > 0 {
		t.Errorf("refused requests have changed the store: %v", diff)
	}
}

// policyFields are the requests that take names of policies.
func policyFields(name string) map[string]map[string]any {
	return map[string]map[string]any{
		"auth/token/create":                   {"policies": []string{name}},
		"auth/token/create-orphan":            {"policies": []string{name}},
		"auth/token/roles/r":                  {"allowed_policies": []string{name}},
		"auth/token/roles/r2":                 {"disallowed_policies": []string{name}},
		"auth/userpass/users/ann":             {"token_policies": []string{name}},
		"auth/userpass/users/ann/policies":    {"token_policies": []string{name}},
		"auth/approle/role/r":                 {"token_policies": []string{name}},
		"auth/approle/role/r/policies":        {"token_policies": []string{name}},
		"auth/userpass/users/bob":             {"policies": []string{name}, "password": "first-password"},
		"auth/userpass/users/ann/policies?x=": {"policies": []string{name}},
	}
}

// TestD1_D2_RootHasOneSpelling puts every spelling of root into every field that
// takes names of policies, and looks at what tokens of it may do.
func TestD1_D2_RootHasOneSpelling(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.Policy("maker", `path "auth/*" { capabilities = ["create", "read", "update", "list"] }`)
	maker := w.Token("maker", "default")
	for _, name := range []string{
		"root", "Root", "ROOT", "rOoT", " root", "root ", "\troot", "root\n", "root\x00", "\u00a0root", "root\u200b", "ro\u00adot", "r\u043e\u043et",
		"\uff52\uff4f\uff4f\uff54", "\u24e1\u24de\u24de\u24e3", "root,default", "default,root", "root/", "./root", "rOOt\u212a", "\u017froot",
	} {
		for path, body := range policyFields(name) {
			for _, as := range []string{maker, servertest.RootToken} {
				a := w.Do(http.MethodPost, path, as, body)
				if as == servertest.RootToken && strings.EqualFold(strings.TrimSpace(name), "root") && strings.HasPrefix(path, "auth/token/create") {
					continue // root may have it, and gets it under its one name
				}
				if text := auth(a, "client_token"); text != "" {
					w.powerless(text, path+" with policy "+name)
				}
			}
		}
		for login, body := range map[string]map[string]any{"auth/userpass/login/ann": {"password": "first-password"}, "auth/userpass/login/bob": {"password": "first-password"}, "auth/fault/login": {"policies": []string{name}}} {
			if text := auth(w.Do(http.MethodPost, login, "", body), "client_token"); text != "" {
				w.powerless(text, login+" with policy "+name)
			}
		}
		if a := w.Do(http.MethodPost, "auth/token/create/r", maker, map[string]any{"policies": []string{name}}); auth(a, "client_token") != "" {
			w.powerless(auth(a, "client_token"), "a role with policy "+name)
		}
	}
}

// powerless fails the test if a token may do what only root may.
func (w *world) powerless(text, what string) {
	w.t.Helper()
	if a := w.Do(http.MethodGet, "sys/policies/acl/default", text, nil); a.Status != http.StatusForbidden {
		w.t.Errorf("%s: a token that reads policies: %s", what, a)
	}
	a := w.Do(http.MethodPost, "sys/capabilities-self", text, map[string]any{"paths": "secret/x"})
	if strings.Contains(string(a.Body), `"root"`) {
		w.t.Errorf("%s: a token with the capabilities of root: %s", what, a)
	}
}
