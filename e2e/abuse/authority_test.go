package abuse_test

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wrap"
)

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
		Headers: func(string) []string { return nil },
	}
	r.Remote, _ = netip.ParseAddr(addr)
	return w.Gate().Serve(context.Background(), r)
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
