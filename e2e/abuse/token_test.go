package abuse_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/audit"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
	"github.com/cofferhq/coffer/internal/wrap"
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

// TestC1_FailedLoginsLeaveNothing: an endpoint that returns an identity together
// with an error makes nothing of it, and ten thousand bad logins leave no row. A
// login's result cannot hold both: [authn.Login] takes a function that returns
// an identity or an error, and drops the one when the other is set.
func TestC1_FailedLoginsLeaveNothing(t *testing.T) {
	w := newWorld(t, servertest.Options{NoAudit: true})
	w.Must(http.StatusNoContent, http.MethodPost, "auth/approle/role/r", map[string]any{"token_policies": "x"})
	ask := func(n int) {
		for i := range n {
			var body map[string]any
			path := "auth/fault/login"
			switch i % 2 {
			case 0:
				body = map[string]any{"fail": true}
			case 1:
				path, body = "auth/approle/login", map[string]any{"role_id": fmt.Sprintf("wrong-%d", i), "secret_id": "wrong"}
			}
			if a := w.Do(http.MethodPost, path, "", body); a.Status != http.StatusBadRequest && a.Status != http.StatusForbidden {
				t.Fatalf("a bad login: got %s", a)
			}
		}
	}
	ask(100)
	before := w.rows()
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	ask(n)
	after := w.rows()
	for k := range after {
		if _, ok := before[k]; !ok && k.Kind() != store.KindLockout {
			t.Errorf("bad logins have left a row of kind %d", k.Kind())
		}
	}
	if n := w.count(store.KindLockout); n > 1025 { // a fixed number of rows for a mount, and the key of their hash
		t.Errorf("bad logins have left %d rows of failures", n)
	}
	for _, kind := range []store.Kind{store.KindToken, store.KindAccessor, store.KindLease, store.KindDue, store.KindEntity, store.KindEntityAlias} {
		n, m := 0, 0
		for k := range before {
			if k.Mount() == store.System && k.Kind() == kind {
				n++
			}
		}
		for k := range after {
			if k.Mount() == store.System && k.Kind() == kind {
				m++
			}
		}
		if n != m {
			t.Errorf("bad logins have changed the number of rows of kind %d from %d to %d", kind, n, m)
		}
	}
}

// TestC3_RenewalAtTheLastInstant renews tokens and leases around their end: what
// is not refused ends, and nothing is without an end at any step.
func TestC3_RenewalAtTheLastInstant(t *testing.T) {
	for _, c := range []struct {
		at    time.Duration // from the end
		alive bool
	}{{-time.Second, true}, {-time.Nanosecond, true}, {0, false}, {time.Nanosecond, false}, {time.Hour, false}} {
		t.Run(c.at.String(), func(t *testing.T) {
			clk := clock.NewFake(time.Time{})
			w := newWorld(t, servertest.Options{Clock: clk})
			w.Fault.limits = engine.RenewLimits{MaxTTL: 10 * time.Minute}
			tok, accessor := w.create(map[string]any{"policies": []string{"default"}, "ttl": "10m", "explicit_max_ttl": "10m"})
			plain, plainAccessor := w.create(map[string]any{"policies": []string{"default"}, "ttl": "10m"})
			lease := w.Must(http.StatusOK, http.MethodGet, "fault/creds/x?ttl=10m&max_ttl=10m", nil)
			id, _ := lease.JSON()["lease_id"].(string)
			w.everythingEnds()
			clk.Advance(10*time.Minute + c.at)
			for what, a := range map[string]servertest.Answer{
				"renew-self": w.Do(http.MethodPost, "auth/token/renew-self", plain, nil),
				"zero":       w.Do(http.MethodPost, "auth/token/renew-self", plain, map[string]any{"increment": 0}),
				"negative":   w.Do(http.MethodPost, "auth/token/renew-self", plain, map[string]any{"increment": "-1h"}),
				"accessor":   w.Do(http.MethodPost, "auth/token/renew-accessor", servertest.RootToken, map[string]any{"accessor": plainAccessor}),
			} {
				if ok := a.Status == http.StatusOK; ok && !c.alive {
					t.Errorf("%s: got %s, want a refusal", what, a)
				}
			}
			for what, a := range map[string]servertest.Answer{
				"limit":          w.Do(http.MethodPost, "auth/token/renew-self", tok, map[string]any{"increment": "1h"}),
				"limit accessor": w.Do(http.MethodPost, "auth/token/renew-accessor", servertest.RootToken, map[string]any{"accessor": accessor, "increment": "1h"}),
				"lease":          w.Do(http.MethodPost, "sys/leases/renew", servertest.RootToken, map[string]any{"lease_id": id, "increment": "1h"}),
			} {
				if a.Status == http.StatusOK && !c.alive {
					t.Errorf("%s: got %s, want a refusal", what, a)
				}
			}
			w.everythingEnds()
			// One step past its limit the token is dead, whatever was renewed.
			clk.Advance(-c.at + time.Nanosecond)
			if a := w.Do(http.MethodGet, "auth/token/lookup-self", tok, nil); a.Status != http.StatusForbidden {
				t.Errorf("after its explicit limit: got %s, want 403", a)
			}
			eventually(t, "the lease is revoked at its limit", func() bool { clk.Advance(time.Second); return w.Fault.gone("x") })
		})
	}
}

// everythingEnds is the invariant: every token but root's has an end, and so has
// every lease, with an item in the expiry index.
func (w *world) everythingEnds() {
	w.t.Helper()
	if diff := w.indexFaults(); len(diff) > 0 {
		w.t.Errorf("the rows of tokens and leases do not agree: %v", diff)
	}
}

// TestC4_LeasesOfBatchTokensEnd: a lease ends with the batch token that asked for
// it, if not sooner.
func TestC4_LeasesOfBatchTokensEnd(t *testing.T) {
	clk := clock.NewFake(time.Time{})
	w := newWorld(t, servertest.Options{Clock: clk})
	w.Policy("creds", `path "fault/creds/*" { capabilities = ["read"] } path "sys/leases/renew" { capabilities = ["update"] }`)
	batch, _ := w.create(map[string]any{"type": "batch", "policies": []string{"creds"}, "ttl": "10m"})
	long := w.MustAs(batch, http.StatusOK, http.MethodGet, "fault/creds/long?ttl=1h", nil)
	short := w.MustAs(batch, http.StatusOK, http.MethodGet, "fault/creds/short?ttl=2m", nil)
	for what, a := range map[string]servertest.Answer{"long": long, "short": short} {
		if d, _ := a.JSON()["lease_duration"].(float64); d <= 0 || d > 600 {
			t.Errorf("the %s lease has %v seconds, the token 600", what, d)
		}
	}
	id, _ := long.JSON()["lease_id"].(string)
	clk.Advance(3 * time.Minute)
	eventually(t, "the short lease ends", func() bool { clk.Advance(time.Millisecond); return w.Fault.gone("short") })
	a := w.MustAs(batch, http.StatusOK, http.MethodPost, "sys/leases/renew", map[string]any{"lease_id": id, "increment": "24h"})
	if d, _ := a.JSON()["lease_duration"].(float64); d > 420 {
		t.Errorf("renewal gave %v seconds, the token has 420", d)
	}
	if w.Fault.gone("long") {
		t.Error("the long lease ended before its token")
	}
	w.everythingEnds()
	clk.Advance(7*time.Minute + time.Second)
	eventually(t, "the long lease ends with its token", func() bool { clk.Advance(time.Second); return w.Fault.gone("long") })
}

// TestC5_LifetimesAreBounded: no lease and no token lives longer than the least
// of what the role, the mount and the system allow.
func TestC5_LifetimesAreBounded(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.Must(http.StatusNoContent, http.MethodPost, "sys/mounts/fault/tune", map[string]any{"default_lease_ttl": "5m", "max_lease_ttl": "10m"})
	w.Must(http.StatusNoContent, http.MethodPost, "sys/auth/userpass/tune", map[string]any{"default_lease_ttl": "5m", "max_lease_ttl": "10m"})
	for query, most := range map[string]float64{"": 300, "?ttl=1h": 600, "?ttl=800000h": 600, "?ttl=2m": 120, "?ttl=1h&max_ttl=3m": 180, "?max_ttl=800000h": 300, "?ttl=1h&max_ttl=800000h": 600} {
		a := w.Must(http.StatusOK, http.MethodGet, "fault/creds/x"+query, nil)
		if d, _ := a.JSON()["lease_duration"].(float64); d <= 0 || d > most {
			t.Errorf("creds%s: got %v seconds, want at most %v", query, d, most)
		}
		id, _ := a.JSON()["lease_id"].(string)
		for _, increment := range []any{0, "1h", "999999h", 9223372036, "-1s"} {
			a := w.Do(http.MethodPost, "sys/leases/renew", servertest.RootToken, map[string]any{"lease_id": id, "increment": increment})
			if d, _ := a.JSON()["lease_duration"].(float64); a.Status == http.StatusOK && (d <= 0 || d > 600) {
				t.Errorf("renewing creds%s by %v: got %v seconds, want at most 600", query, increment, d)
			}
		}
	}
	for _, settings := range []map[string]any{{}, {"token_ttl": "1h"}, {"token_ttl": "800000h", "token_max_ttl": "800000h"}, {"token_explicit_max_ttl": "800000h"}, {"token_ttl": "1m"}} {
		w.user("ann", "first-password", settings)
		a := w.MustAs("", http.StatusOK, http.MethodPost, "auth/userpass/login/ann", map[string]any{"password": "first-password"})
		part, _ := a.JSON()["auth"].(map[string]any)
		if d, _ := part["lease_duration"].(float64); d <= 0 || d > 600 {
			t.Errorf("login with %v: got %v seconds, want at most 600", settings, d)
		}
	}
	for _, body := range []map[string]any{{"ttl": "800000h"}, {"ttl": "800000h", "explicit_max_ttl": "800000h"}, {"ttl": 0}, {"type": "batch", "ttl": "800000h"}} {
		body["policies"] = []string{"default"}
		a := w.Must(http.StatusOK, http.MethodPost, "auth/token/create", body)
		part, _ := a.JSON()["auth"].(map[string]any)
		if d, _ := part["lease_duration"].(float64); d <= 0 || d > 32*24*3600 {
			t.Errorf("a token with %v: got %v seconds, want at most 32 days", body, d)
		}
	}
	w.everythingEnds()
}

// TestC6_WhatEndedWhileTheServerWasDown is dead when it starts, and so is a
// token without an end that is not root's.
func TestC6_WhatEndedWhileTheServerWasDown(t *testing.T) {
	dir, clk := t.TempDir(), clock.NewFake(time.Time{})
	w := newWorld(t, servertest.Options{Dir: dir, Clock: clk})
	gone, goneAccessor := w.create(map[string]any{"policies": []string{"default"}, "ttl": "10m"})
	stays, _ := w.create(map[string]any{"policies": []string{"default"}, "ttl": "20h"})
	w.Must(http.StatusOK, http.MethodGet, "fault/creds/x?ttl=10m", nil)
	endless, _ := w.create(map[string]any{"policies": []string{"default"}, "ttl": "20h"})
	w.update(func(tx store.Txn) error {
		key := store.NewKey(store.RootNamespace, store.System, store.KindToken, w.Gate().Tokens.Handle(endless))
		e, err := store.GetJSON[token.Entry](tx, key)
		if err != nil {
			return err
		}
		e.Expires = time.Time{}
		return store.PutJSON(tx, key, e)
	})
	if a := w.Do(http.MethodGet, "auth/token/lookup-self", endless, nil); a.Status != http.StatusForbidden {
		t.Errorf("a token without an end: got %s, want 403", a)
	}
	keys := w.Keys
	w.Stop()

	clk.Advance(time.Hour)
	w = openWorld(t, servertest.Options{Dir: dir, Clock: clk})
	w.Keys = keys
	w.unseal()
	for what, c := range map[string]struct {
		token string
		want  int
	}{"ended": {gone, http.StatusForbidden}, "endless": {endless, http.StatusForbidden}, "living": {stays, http.StatusOK}} {
		if a := w.Do(http.MethodGet, "auth/token/lookup-self", c.token, nil); a.Status != c.want {
			t.Errorf("the %s token: got %s, want %d", what, a, c.want)
		}
	}
	eventually(t, "the lease is revoked after the start", func() bool { return w.Fault.gone("x") })
	eventually(t, "the token's rows are gone", func() bool {
		a := w.Do(http.MethodPost, "auth/token/lookup-accessor", servertest.RootToken, map[string]any{"accessor": goneAccessor})
		return a.Status != http.StatusOK
	})
	if a := w.Must(http.StatusOK, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"default"}}); a.Status != http.StatusOK {
		t.Error("no new tokens after the start")
	}
}

// TestC7_AddressesAreInherited: a child is bound to its parent's addresses, on
// every way to make one.
func TestC7_AddressesAreInherited(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.Policy("maker", `path "auth/token/*" { capabilities = ["create", "read", "update", "sudo"] } path "secret/*" { capabilities = ["read"] }`)
	w.Must(http.StatusNoContent, http.MethodPost, "auth/token/roles/r", map[string]any{"allowed_policies": "default,maker"})
	w.user("ann", "first-password", map[string]any{"token_bound_cidrs": "127.0.0.1/32", "token_policies": "maker"})
	parents := map[string]string{}
	parents["created"], _ = w.create(map[string]any{"policies": []string{"maker"}, "bound_cidrs": "127.0.0.1/32"})
	parents["logged in"] = auth(w.MustAs("", http.StatusOK, http.MethodPost, "auth/userpass/login/ann", map[string]any{"password": "first-password"}), "client_token")
	bodies := map[string]map[string]any{"plain": {}, "wider": {"bound_cidrs": "0.0.0.0/0"}, "none": {"bound_cidrs": []string{}}, "batch": {"type": "batch"}, "orphan": {"no_parent": true}}
	for who, parent := range parents {
		for what, body := range bodies {
			for _, path := range []string{"auth/token/create", "auth/token/create-orphan", "auth/token/create/r"} {
				text := auth(w.Do(http.MethodPost, path, parent, body), "client_token")
				if text == "" {
					continue
				}
				if !w.from("127.0.0.1", text) {
					t.Errorf("%s, %s, %s: the child is refused at its own address", who, what, path)
				}
				for _, addr := range []string{"192.0.2.1", "127.0.0.2", "::1", "::ffff:192.0.2.1", ""} {
					if w.from(addr, text) {
						t.Errorf("%s, %s, %s: the child may be used from %q", who, what, path, addr)
					}
				}
			}
		}
		for _, path := range []string{"sys/internal/ui/mounts", "sys/internal/ui/mounts/secret", "auth/token/lookup-self"} {
			if a := w.serve("192.0.2.1", parent, path); a.Err == nil && a.Reply != nil && strings.Contains(string(a.Reply.Data), "kv_") {
				t.Errorf("%s: GET %s from another address shows mounts: %s", who, path, a.Reply.Data)
			}
		}
	}
}

// from reports whether a token is accepted from an address.
func (w *world) from(addr, text string) bool {
	return w.serve(addr, text, "auth/token/lookup-self").Err == nil
}

func (w *world) serve(addr, text, path string) gate.Answer {
	r := &gate.Request{
		ID: "id", Namespace: namespace.Root, Verb: route.VerbRead, Path: path, Token: text,
		Header: func(string) string { return "" }, AuditHeaders: func() []audit.Header { return nil },
	}
	r.Remote, _ = netip.ParseAddr(addr)
	return w.Gate().Serve(context.Background(), r)
}

// TestC8_LeaseIDsOfEveryByte: a lease whose id holds any byte that a path may
// have is found, listed, renewed and revoked, alone and by its prefix.
func TestC8_LeaseIDsOfEveryByte(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	var names []string
	for c := 0x20; c < 0x7f; c++ {
		if c == '/' || c == '\\' {
			continue
		}
		names = append(names, "a"+string(rune(c))+"b")
	}
	names = append(names, "..a", "a..", "a/b.c/d", "ä", "日本", "a.b.c", "...")
	for _, name := range names {
		escaped := strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll((&urlPath{name}).String(), "?", "%3F"), "#", "%23"), "'", "%27")
		for _, how := range []string{"revoke", "prefix", "force"} {
			payload := name + how
			a := w.Do(http.MethodGet, "fault/creds/"+escaped+how, servertest.RootToken, nil)
			id, _ := a.JSON()["lease_id"].(string)
			if a.Status != http.StatusOK || id == "" {
				t.Errorf("%q: got %s", name, a)
				continue
			}
			w.Must(http.StatusOK, http.MethodPost, "sys/leases/lookup", map[string]any{"lease_id": id})
			w.Must(http.StatusOK, http.MethodPost, "sys/leases/renew", map[string]any{"lease_id": id})
			switch how {
			case "revoke":
				w.Must(http.StatusNoContent, http.MethodPost, "sys/leases/revoke", map[string]any{"lease_id": id, "sync": true})
			default:
				w.Must(http.StatusNoContent, http.MethodPost, "sys/leases/revoke-"+how+"/fault/creds/"+escaped+how, map[string]any{"sync": true})
			}
			if !w.Fault.gone(payload) {
				t.Errorf("%q: the engine was not asked to revoke it by %s", name, how)
			}
			if a := w.Do(http.MethodPost, "sys/leases/lookup", servertest.RootToken, map[string]any{"lease_id": id}); a.Status != http.StatusBadRequest {
				t.Errorf("%q: after its revocation: got %s, want 400", name, a)
			}
		}
	}
	w.everythingEnds()
}

// TestC11_PeriodicTokensOutliveTheMaximum, and others do not.
func TestC11_PeriodicTokensOutliveTheMaximum(t *testing.T) {
	clk := clock.NewFake(time.Time{})
	w := newWorld(t, servertest.Options{Clock: clk})
	periodic := map[string]string{}
	periodic["created"], _ = w.create(map[string]any{"policies": []string{"default"}, "period": "24h"})
	w.user("ann", "first-password", map[string]any{"token_period": "24h"})
	periodic["userpass"] = auth(w.MustAs("", http.StatusOK, http.MethodPost, "auth/userpass/login/ann", map[string]any{"password": "first-password"}), "client_token")
	w.Must(http.StatusNoContent, http.MethodPost, "auth/approle/role/r", map[string]any{"token_period": "24h", "bind_secret_id": false, "token_bound_cidrs": "127.0.0.1/32"})
	rid, _ := w.Must(http.StatusOK, http.MethodGet, "auth/approle/role/r/role-id", nil).Data()["role_id"].(string)
	periodic["approle"] = auth(w.MustAs("", http.StatusOK, http.MethodPost, "auth/approle/login", map[string]any{"role_id": rid}), "client_token")
	w.Must(http.StatusNoContent, http.MethodPost, "auth/token/roles/p", map[string]any{"period": "24h", "allowed_policies": "default"})
	periodic["role"] = auth(w.Must(http.StatusOK, http.MethodPost, "auth/token/create/p", map[string]any{}), "client_token")
	plain, _ := w.create(map[string]any{"policies": []string{"default"}, "ttl": "24h"})
	for range 40 {
		clk.Advance(23 * time.Hour)
		for what, text := range periodic {
			if a := w.Do(http.MethodPost, "auth/token/renew-self", text, map[string]any{"increment": "1s"}); a.Status != http.StatusOK {
				t.Fatalf("renewing the periodic token of %s: %s", what, a)
			}
		}
		w.Do(http.MethodPost, "auth/token/renew-self", plain, map[string]any{"increment": "24h"})
	}
	if a := w.Do(http.MethodGet, "auth/token/lookup-self", plain, nil); a.Status != http.StatusForbidden {
		t.Errorf("a token without a period after 38 days: got %s, want 403", a)
	}
	w.everythingEnds()
}

// TestT10_WrappedAnswersAreHadOnce lets two hundred callers unwrap at once, by
// every way to unwrap: one gets the answer.
func TestT10_WrappedAnswersAreHadOnce(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.Must(http.StatusOK, http.MethodPost, "secret/data/x", map[string]any{"data": map[string]string{"k": canary}})
	for round := range 5 {
		info, _ := w.Must(http.StatusOK, http.MethodGet, "secret/data/x", nil, "X-Vault-Wrap-TTL", "60s").JSON()["wrap_info"].(map[string]any)
		text, _ := info["token"].(string)
		var won atomic.Int32
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range 200 {
			wg.Go(func() {
				<-start
				var a servertest.Answer
				switch i % 4 {
				case 0:
					a = w.Do(http.MethodPost, "sys/wrapping/unwrap", text, nil)
				case 1:
					a = w.Do(http.MethodPost, "sys/wrapping/unwrap", "", map[string]any{"token": text})
				case 2:
					a = w.Do(http.MethodPost, "sys/wrapping/unwrap", servertest.RootToken, map[string]any{"token": text})
				case 3:
					a = w.Do(http.MethodGet, "cubbyhole/response", text, nil)
				}
				if strings.Contains(string(a.Body), canary) {
					won.Add(1)
				} else if a.Status/100 == 2 || a.Status/100 == 5 {
					t.Errorf("a loser got %s", a)
				}
			})
		}
		close(start)
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("round %d: %d callers got the answer, want 1", round, won.Load())
		}
	}
	if n := w.count(store.KindWrap); n != 1 { // the key that signs wrapping tokens
		t.Errorf("%d rows of wrapping are left, want the signing key's", n)
	}
	for _, ttl := range []string{"0", "-1", "33d", "999999h", "1ns", "x", "9223372036854775807"} {
		a := w.Do(http.MethodGet, "secret/data/x", servertest.RootToken, nil, "X-Vault-Wrap-TTL", ttl)
		if d, _ := a.JSON()["wrap_info"].(map[string]any); d != nil {
			t.Errorf("wrapped for %s: %s (at most %v)", ttl, a, wrap.MaxTTL)
		}
	}
	info, _ := w.Must(http.StatusOK, http.MethodGet, "secret/data/x", nil, "X-Vault-Wrap-TTL", "60s").JSON()["wrap_info"].(map[string]any)
	text, _ := info["token"].(string)
	for _, path := range []string{"auth/token/lookup-self", "secret/data/x", "sys/mounts", "cubbyhole/x"} {
		w.Do(http.MethodGet, path, text, nil)
		if a := w.Do(http.MethodGet, path, text, nil); a.Status/100 == 2 {
			t.Errorf("a wrapping token reads %s: %s", path, a)
		}
	}
}

// TestT31_RevocationIsOverWhenItReturns uses a token in a loop while it is
// revoked: nothing succeeds after the revocation has returned.
func TestT31_RevocationIsOverWhenItReturns(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	for name, revoke := range map[string]func(text, accessor, parent string){
		"token": func(text, _, _ string) {
			w.Must(204, http.MethodPost, "auth/token/revoke", map[string]any{"token": text})
		},
		"self": func(text, _, _ string) { w.MustAs(text, 204, http.MethodPost, "auth/token/revoke-self", nil) },
		"accessor": func(_, a, _ string) {
			w.Must(204, http.MethodPost, "auth/token/revoke-accessor", map[string]any{"accessor": a})
		},
		"orphan": func(text, _, _ string) {
			w.Must(204, http.MethodPost, "auth/token/revoke-orphan", map[string]any{"token": text})
		},
		"parent": func(_, _, p string) { w.Must(204, http.MethodPost, "auth/token/revoke", map[string]any{"token": p}) },
		"prefix": func(_, _, _ string) {
			w.Must(204, http.MethodPost, "sys/leases/revoke-prefix/auth/token/create", map[string]any{"sync": true})
		},
		"policy": func(_, _, _ string) { w.Must(204, http.MethodDelete, "sys/policies/acl/reader", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			w.Policy("reader", `path "auth/token/*" { capabilities = ["create", "read", "update"] }`)
			parent, _ := w.create(map[string]any{"policies": []string{"reader"}, "ttl": "1h"})
			text, accessor := w.createAs(parent, map[string]any{"policies": []string{"reader"}, "no_default_policy": true, "ttl": "1h"})
			var returned, late atomic.Bool
			var wg sync.WaitGroup
			stop := make(chan struct{})
			for range 4 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						over := returned.Load()
						if a := w.Do(http.MethodGet, "auth/token/lookup-self", text, nil); over && a.Status == http.StatusOK {
							late.Store(true)
						}
					}
				})
			}
			for range 20 {
				w.Do(http.MethodGet, "auth/token/lookup-self", text, nil)
			}
			revoke(text, accessor, parent)
			returned.Store(true)
			for range 50 {
				if a := w.Do(http.MethodGet, "auth/token/lookup-self", text, nil); a.Status == http.StatusOK {
					late.Store(true)
				}
			}
			close(stop)
			wg.Wait()
			if late.Load() {
				t.Error("the token was accepted after its revocation had returned")
			}
		})
	}
}

// TestT31_BatchTokensEndWithTheirParent: a batch token cannot be revoked itself,
// so it must end with the token that made it.
func TestT31_BatchTokensEndWithTheirParent(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.Policy("maker", `path "auth/token/*" { capabilities = ["create", "read", "update", "sudo"] } path "fault/creds/*" { capabilities = ["read"] }`)
	parent, _ := w.create(map[string]any{"policies": []string{"maker"}, "ttl": "1h"})
	child, _ := w.createAs(parent, map[string]any{"policies": []string{"maker"}, "type": "batch"})
	orphan, _ := w.createAs(parent, map[string]any{"policies": []string{"maker"}, "type": "batch", "no_parent": true})
	w.MustAs(child, http.StatusOK, http.MethodGet, "auth/token/lookup-self", nil)
	w.MustAs(child, http.StatusOK, http.MethodGet, "fault/creds/childs", nil)
	w.MustAs(orphan, http.StatusOK, http.MethodGet, "fault/creds/orphans", nil)
	w.everythingEnds()
	w.Must(http.StatusNoContent, http.MethodPost, "auth/token/revoke", map[string]any{"token": parent})
	if a := w.Do(http.MethodGet, "auth/token/lookup-self", child, nil); a.Status != http.StatusForbidden {
		t.Errorf("the child after its parent's revocation: got %s, want 403", a)
	}
	w.MustAs(orphan, http.StatusOK, http.MethodGet, "auth/token/lookup-self", nil)
	eventually(t, "the lease of the child is revoked", func() bool { return w.Fault.gone("childs") })
	if w.Fault.gone("orphans") {
		t.Error("the lease of the batch token without a parent is gone")
	}
	w.everythingEnds()
}

// urlPath escapes a name for a request's path.
type urlPath struct{ name string }

func (u *urlPath) String() string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~/"
	var b strings.Builder
	for i := range len(u.name) {
		if strings.IndexByte(plain, u.name[i]) >= 0 {
			b.WriteByte(u.name[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", u.name[i])
		}
	}
	return b.String()
}
