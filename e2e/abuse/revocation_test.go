package abuse_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
)

// TestS5_RevocationIsNeverGivenUp keeps an engine down for a day of the clock:
// its leases are tried again and again, are listed as stuck, hold up no other
// mount, and end when the engine is back.
func TestS5_RevocationIsNeverGivenUp(t *testing.T) {
	clk := clock.NewFake(time.Time{})
	w := newWorld(t, servertest.Options{Clock: clk})
	w.Must(http.StatusNoContent, http.MethodPost, "sys/mounts/other", map[string]any{"type": "fault"})
	var ids []string
	for i := range 20 {
		a := w.Must(http.StatusOK, http.MethodGet, fmt.Sprintf("fault/creds/db%d?ttl=1m", i), nil)
		id, _ := a.JSON()["lease_id"].(string)
		ids = append(ids, id)
	}
	w.Fault.set(true)
	clk.Advance(2 * time.Minute)
	eventually(t, "every lease is tried", func() bool { return w.Fault.tried() >= len(ids) })
	for range 24 * 6 {
		was := w.Fault.tried()
		clk.Advance(10 * time.Minute)
		eventually(t, "leases are tried again", func() bool {
			// A wait that began while the clock was being moved ends later.
			clk.Advance(time.Second)
			return w.Fault.tried() >= was+len(ids)
		})
	}
	a := w.Must(http.StatusOK, http.MethodGet, "sys/leases?type=irrevocable", nil)
	if n, _ := a.Data()["lease_count"].(float64); int(n) != len(ids) {
		t.Errorf("listed as stuck: %v, want %d: %s", n, len(ids), a)
	}
	if strings.Contains(string(a.Body), "connection refused") {
		t.Errorf("the cause's own text is shown: %s", a)
	}
	w.Must(http.StatusOK, http.MethodPost, "sys/leases/lookup", map[string]any{"lease_id": ids[0]})
	w.Fault.set(false)
	clk.Advance(10 * time.Minute)
	eventually(t, "every lease ends when the engine is back", func() bool {
		clk.Advance(time.Second)
		for i := range ids {
			if !w.Fault.gone(fmt.Sprintf("db%d", i)) {
				return false
			}
		}
		return true
	})
	eventually(t, "nothing is stuck any more", func() bool { return len(w.leases()) == 0 })
	w.everythingEnds()
}

// leases are the rows of leases of engines.
func (w *world) leases() []string {
	var ids []string
	for k, v := range w.rows() {
		if k.Mount() == store.System && k.Kind() == store.KindLease && !strings.Contains(v, `"token"`) {
			ids = append(ids, k.Last())
		}
	}
	return ids
}

// TestS6_RevokingTwiceSucceeds: what is gone already is no failure, alone, by
// prefix and by force, for leases and for tokens.
func TestS6_RevokingTwiceSucceeds(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	id, _ := w.Must(http.StatusOK, http.MethodGet, "fault/creds/x", nil).JSON()["lease_id"].(string)
	text, accessor := w.create(map[string]any{"policies": []string{"default"}})
	for range 3 {
		for path, body := range map[string]map[string]any{
			"sys/leases/revoke": {"lease_id": id, "sync": true}, "sys/leases/revoke-prefix/fault/creds": {"sync": true}, "sys/leases/revoke-force/fault/creds": {},
			"auth/token/revoke": {"token": text},
		} {
			if a := w.Do(http.MethodPost, path, servertest.RootToken, body); a.Status/100 != 2 {
				t.Errorf("POST %s: got %s, want success", path, a)
			}
		}
		if a := w.Do(http.MethodPost, "auth/token/revoke-accessor", servertest.RootToken, map[string]any{"accessor": accessor}); a.Status/100 == 5 {
			t.Errorf("revoking by an accessor that is gone: got %s", a)
		}
	}
	w.everythingEnds()
}

// TestS7_DamagedTokensAreQuarantined plants rows that no server writes: blank,
// garbled and endless tokens, an accessor of nothing, and parents in a circle.
// Each is refused, none makes a walk endless, and the rest works.
func TestS7_DamagedTokensAreQuarantined(t *testing.T) {
	clk := clock.NewFake(time.Time{})
	w := newWorld(t, servertest.Options{Clock: clk})
	key := func(text string) store.Key {
		return store.NewKey(store.RootNamespace, store.System, store.KindToken, w.Gate().Tokens.Handle(text))
	}
	for what, value := range map[string]string{"blank": "", "garbled": "\x00\x01", "null": "null", "empty": "{}", "list": "[]", "root without a namespace": `{"pol":["root"]}`, "another shape": `{"pol":"root","ns":1}`} {
		w.update(func(tx store.Txn) error { return tx.Put(key("planted-"+what), []byte(value)) })
		a := w.Do(http.MethodGet, "auth/token/lookup-self", "planted-"+what, nil)
		if a.Status/100 == 2 {
			t.Errorf("a %s row: got %s, want a refusal", what, a)
		}
		if a := w.Do(http.MethodPost, "auth/token/revoke", servertest.RootToken, map[string]any{"token": "planted-" + what}); a.Status == 0 {
			t.Errorf("revoking a %s row: %s", what, a)
		}
	}
	w.update(func(tx store.Txn) error {
		return tx.Put(store.NewKey(store.RootNamespace, store.System, store.KindAccessor, "stray"), []byte("no such handle"))
	})
	w.Must(http.StatusOK, "LIST", "auth/token/accessors", nil)
	for _, path := range []string{"lookup-accessor", "renew-accessor", "revoke-accessor"} {
		if a := w.Do(http.MethodPost, "auth/token/"+path, servertest.RootToken, map[string]any{"accessor": "stray"}); a.Status/100 == 5 {
			t.Errorf("%s of a stray accessor: got %s", path, a)
		}
	}
	w.circle(clk)
}

// circle makes two tokens each other's parents and has them revoked, and their
// like expire.
func (w *world) circle(clk *clock.Fake) {
	w.t.Helper()
	pair := func() (a, b string) {
		a, _ = w.create(map[string]any{"policies": []string{"default"}, "ttl": "10m", "no_parent": true})
		b, _ = w.create(map[string]any{"policies": []string{"default"}, "ttl": "10m", "no_parent": true})
		ha, hb := w.Gate().Tokens.Handle(a), w.Gate().Tokens.Handle(b)
		w.update(func(tx store.Txn) error {
			for child, parent := range map[string]string{ha: hb, hb: ha} {
				k := store.NewKey(store.RootNamespace, store.System, store.KindToken, child)
				e, err := store.GetJSON[token.Entry](tx, k)
				if err != nil {
					return err
				}
				e.Parent = []byte(parent)
				if err := store.PutJSON(tx, k, e); err != nil {
					return err
				}
				if err := tx.Put(store.NewKey(store.RootNamespace, store.System, store.KindTokenParent, parent, child), nil); err != nil {
					return err
				}
			}
			return nil
		})
		return a, b
	}
	a, b := pair()
	w.Must(http.StatusNoContent, http.MethodPost, "auth/token/revoke", map[string]any{"token": a})
	for _, text := range []string{a, b} {
		w.MustAs(text, http.StatusForbidden, http.MethodGet, "auth/token/lookup-self", nil)
	}
	a, b = pair()
	w.Must(http.StatusNoContent, http.MethodPost, "auth/token/revoke-orphan", map[string]any{"token": a})
	w.MustAs(a, http.StatusForbidden, http.MethodGet, "auth/token/lookup-self", nil)
	a, b = pair()
	before := w.count(store.KindToken)
	clk.Advance(11 * time.Minute)
	eventually(w.t, "a circle of tokens expires", func() bool { clk.Advance(time.Second); return w.count(store.KindToken) <= before-2 })
	_, _ = a, b
	w.Must(http.StatusOK, http.MethodGet, "auth/token/lookup-self", nil)
}

// TestS8_IndexesAgree makes, renews, orphans, revokes and lets expire tokens and
// leases at random, and after every few steps compares every row with its
// counterparts.
func TestS8_IndexesAgree(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			clk := clock.NewFake(time.Time{})
			w := newWorld(t, servertest.Options{Clock: clk})
			w.Policy("all", `path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }`)
			random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's choices
			tokens, leases := []string{servertest.RootToken}, []string{}
			pick := func(from []string) string { return from[random.IntN(len(from))] }
			for step := range 400 {
				as := pick(tokens)
				switch random.IntN(14) {
				case 0, 1, 2:
					body := map[string]any{"policies": []string{"all"}, "ttl": fmt.Sprintf("%dm", 1+random.IntN(60))}
					switch random.IntN(6) {
					case 0:
						body["type"] = "batch"
					case 1:
						body["no_parent"] = true
					case 2:
						body["num_uses"] = 2
					case 3:
						body["period"] = "10m"
					}
					if text := auth(w.Do(http.MethodPost, "auth/token/create", as, body), "client_token"); text != "" {
						tokens = append(tokens, text)
					}
				case 3, 4, 5:
					if id, _ := w.Do(http.MethodGet, fmt.Sprintf("fault/creds/c%d?ttl=%dm", random.IntN(5), 1+random.IntN(60)), as, nil).JSON()["lease_id"].(string); id != "" {
						leases = append(leases, id)
					}
				case 6:
					w.Do(http.MethodPost, "auth/token/renew", servertest.RootToken, map[string]any{"token": as, "increment": random.IntN(4000)})
				case 7:
					if as != servertest.RootToken {
						w.Do(http.MethodPost, "auth/token/revoke", servertest.RootToken, map[string]any{"token": as})
					}
				case 8:
					if as != servertest.RootToken {
						w.Do(http.MethodPost, "auth/token/revoke-orphan", servertest.RootToken, map[string]any{"token": as})
					}
				case 9, 10:
					if len(leases) > 0 {
						w.Do(http.MethodPost, "sys/leases/"+pick([]string{"renew", "revoke"}), as, map[string]any{"lease_id": pick(leases), "increment": random.IntN(4000)})
					}
				case 11:
					w.Do(http.MethodPost, fmt.Sprintf("sys/leases/revoke-%s/fault/creds/c%d", pick([]string{"prefix", "force"}), random.IntN(5)), as, nil)
				case 12:
					clk.Advance(time.Duration(random.IntN(300)) * time.Second)
				case 13:
					w.Fault.set(random.IntN(3) == 0)
					w.Do(http.MethodGet, "secret/data/x", as, nil, "X-Vault-Wrap-TTL", "1m")
				}
				if step%20 == 19 {
					w.settled()
				}
			}
			w.Fault.set(false)
			clk.Advance(48 * time.Hour)
			eventually(t, "everything has ended", func() bool { clk.Advance(time.Second); return len(w.leases()) == 0 && w.count(store.KindToken) <= 2 })
			w.settled()
		})
	}
}

// settled waits until the rows agree: what comes due is removed in transactions
// of its own, which leave items without a record for a moment.
func (w *world) settled() {
	w.t.Helper()
	var last []string
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		if last = w.indexFaults(); len(last) == 0 {
			return
		}
		<-tick.C
	}
	w.t.Fatalf("the rows of tokens and leases do not agree: %.6v", last)
}
