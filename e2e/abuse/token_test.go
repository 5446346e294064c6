package abuse_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
)

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
