package token_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/token"
)

func TestUsesAreCountedExactly(t *testing.T) {
	w := newWorld(t)
	const uses = 17
	m := w.create(nil, func(e *token.Entry) { e.NumUses = uses })
	var granted, lasts, refused atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			e, err := w.Authenticate(t.Context(), m.text)
			if err == nil {
				var last bool
				if _, last, err = w.Use(t.Context(), e); last {
					lasts.Add(1)
				}
			}
			switch {
			case err == nil:
				granted.Add(1)
			case errors.Is(err, fault.Denied):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if granted.Load() != uses || lasts.Load() != 1 || refused.Load() != 50-uses {
		t.Errorf("%d uses of %d, %d of them last, %d refused", granted.Load(), uses, lasts.Load(), refused.Load())
	}
	w.wantAlive(false, m)
}

func TestATokenWithoutALimitIsNotCounted(t *testing.T) {
	w := newWorld(t)
	m := w.create(nil)
	w.db.left.Store(0) // a write would fail
	for range 3 {
		if _, last, err := w.Use(t.Context(), m.Entry); err != nil || last {
			t.Fatalf("last %v, error %v", last, err)
		}
	}
}

func TestATokenCanStillActDuringItsLastUse(t *testing.T) {
	w := newWorld(t)
	m := w.create(nil, func(e *token.Entry) { e.NumUses = 1 })
	after, last, err := w.Use(t.Context(), m.Entry)
	if err != nil || !last {
		t.Fatalf("last %v, error %v", last, err)
	}
	if _, err := w.Renew(t.Context(), w.call(m), after, time.Minute); err != nil {
		t.Errorf("renewing itself: %v", err)
	}
	if lease := w.grant(m); lease == nil {
		t.Error("no lease")
	}
	w.wantAlive(false, m)
	if err := w.Revoke(t.Context(), m.Handle); err != nil {
		t.Fatal(err)
	}
	w.expireLeases()
	w.gone()
}

// TestNoTokenIsAcceptedOnceItsRevocationHasReturned races readers, who fill the
// cache, with the revocation.
func TestNoTokenIsAcceptedOnceItsRevocationHasReturned(t *testing.T) {
	w := newWorld(t)
	for range 300 {
		m := w.create(nil)
		var revoked atomic.Bool
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					before := revoked.Load()
					_, err := w.Authenticate(t.Context(), m.text)
					switch {
					case err == nil && before:
						t.Error("a revoked token was accepted")
						return
					case err != nil:
						return
					}
				}
			})
		}
		if err := w.Revoke(t.Context(), m.Handle); err != nil {
			t.Fatal(err)
		}
		revoked.Store(true)
		wg.Wait()
	}
}

// TestAChildIsEitherMadeOrRevoked races the making of children with the
// revocation of their parent: none survives it.
func TestAChildIsEitherMadeOrRevoked(t *testing.T) {
	for name, orphan := range map[string]bool{"revoked": false, "revoked alone": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for range 50 {
				parent := w.create(nil)
				var mu sync.Mutex
				var children []*made
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						for {
							e, text, err := w.Create(t.Context(), token.Entry{Parent: []byte(parent.Handle), TTL: time.Hour, Type: token.Service}, "", nil)
							if err != nil {
								return
							}
							mu.Lock()
							children = append(children, &made{e, text})
							mu.Unlock()
						}
					})
				}
				end := w.Revoke
				if orphan {
					end = w.RevokeOrphan
				}
				if err := end(t.Context(), parent.Handle); err != nil {
					t.Fatal(err)
				}
				wg.Wait()
				w.wantAlive(orphan, children...)
				for _, c := range children {
					if err := w.Revoke(t.Context(), c.Handle); err != nil {
						t.Fatal(err)
					}
				}
				w.gone()
			}
		})
	}
}
