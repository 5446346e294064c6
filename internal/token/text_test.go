package token_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
)

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func TestTextsLookAlikeAndDiffer(t *testing.T) {
	w := newWorld(t)
	seen := map[string]bool{}
	for range 200 {
		m := w.create(nil)
		body, ours := strings.CutPrefix(m.text, token.ServicePrefix)
		if !ours || len(body) != 49 || strings.Trim(body, digits) != "" {
			t.Fatalf("a token of %d characters after its prefix", len(body))
		}
		if len(m.Accessor) != 24 || strings.Trim(m.Accessor, digits) != "" {
			t.Fatalf("accessor %q", m.Accessor)
		}
		if seen[m.text] || seen[m.Accessor] {
			t.Fatal("a text or accessor came twice")
		}
		seen[m.text], seen[m.Accessor] = true, true
	}
}

// TestATypoIsRefusedWithoutALook changes every character of a token.
func TestATypoIsRefusedWithoutALook(t *testing.T) {
	w := newWorld(t)
	m := w.create(nil)
	w.db.views.Store(0)
	for i := len(token.ServicePrefix); i < len(m.text); i++ {
		for _, c := range []string{"0", "z", "-", "\x00", ""} {
			if typo := m.text[:i] + c + m.text[i+1:]; typo != m.text {
				if _, err := w.Authenticate(t.Context(), typo); !errors.Is(err, fault.Denied) {
					t.Errorf("character %d changed to %q: %v, want denied", i, c, err)
				}
			}
		}
	}
	if n := w.db.views.Load(); n != 0 {
		t.Errorf("the store was asked %d times", n)
	}
	w.wantAlive(true, m)
}

func TestARootTokenNeedsNoChecksum(t *testing.T) {
	w := newWorld(t)
	var text string
	w.update(func(tx store.Txn) error {
		var err error
		text, err = token.InsertRoot(tx, w.clock, rng("root token"), "")
		return err
	})
	if len(text) != token.RootLen {
		t.Errorf("%d characters, want %d", len(text), token.RootLen)
	}
	w.clock.Advance(100 * 365 * day)
	if e, err := w.Authenticate(t.Context(), text); err != nil || !e.Root() {
		t.Errorf("a root token after 100 years: %v", err)
	}
}

func TestABatchTokenIsItsOwnRecord(t *testing.T) {
	w := newWorld(t)
	e := token.Entry{NS: 7, Policies: []string{"b", "a"}, Type: token.Batch, TTL: time.Minute, Meta: map[string]string{"k": "v"}, Renewable: true}
	made, text, err := w.Create(t.Context(), e, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	w.gone()
	got, err := w.Authenticate(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	if got.NS != 7 || got.Meta["k"] != "v" || got.Renewable || !got.Expires.Equal(made.Expires) || got.Policies[0] != "a" {
		t.Errorf("the record that comes back differs: %+v", got)
	}
	for i := range text {
		for _, c := range []string{"A", "_", "\n", ""} {
			if changed := text[:i] + c + text[i+1:]; changed != text {
				if _, err := w.Authenticate(t.Context(), changed); !errors.Is(err, fault.Denied) {
					t.Fatalf("character %d changed to %q: %v, want denied", i, c, err)
				}
			}
		}
	}
	for _, odd := range []string{text + "\n", text[:9] + "\r\n" + text[9:], text + "=", text + "A"} {
		if _, err := w.Authenticate(t.Context(), odd); !errors.Is(err, fault.Denied) {
			t.Errorf("%d characters more: %v, want denied", len(odd)-len(text), err)
		}
	}
	other := newWorld(t)
	other.update(func(tx store.Txn) error {
		return tx.Delete(store.NewKey(store.RootNamespace, store.System, store.KindTokenKey))
	})
	other.update(func(tx store.Txn) error { return token.Init(tx, rng("other keys")) })
	foreign, err := token.New(t.Context(), other.Config)
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	if _, err := foreign.Authenticate(t.Context(), text); !errors.Is(err, fault.Denied) {
		t.Errorf("in a cluster with other keys: %v, want denied", err)
	}
	w.clock.Advance(time.Minute)
	if _, err := w.Authenticate(t.Context(), text); !errors.Is(err, fault.Denied) {
		t.Errorf("at its end: %v, want denied", err)
	}
}

func TestABatchTokenEndsWithItsParent(t *testing.T) {
	for name, revoke := range map[string]func(w *world, m *made) error{
		"revoked":        func(w *world, m *made) error { return w.Revoke(t.Context(), m.Handle) },
		"revoked alone":  func(w *world, m *made) error { return w.RevokeOrphan(t.Context(), m.Handle) },
		"at its own end": func(w *world, _ *made) error { w.clock.Advance(time.Hour); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			parent := w.create(nil)
			e := token.Entry{NS: store.RootNamespace, Type: token.Batch, TTL: 5 * time.Hour, Parent: []byte(parent.Handle)}
			entry, text, err := w.Create(t.Context(), e, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			batch := &made{entry, text}
			w.wantAlive(true, batch)
			if err := revoke(w, parent); err != nil {
				t.Fatal(err)
			}
			w.wantAlive(false, batch)
		})
	}
}

// FuzzAuthenticate presents any text: it is refused, whatever it is.
func FuzzAuthenticate(f *testing.F) {
	w := newWorld(f)
	service := w.create(nil)
	entry, batch, err := w.Create(f.Context(), token.Entry{NS: store.RootNamespace, Type: token.Batch, TTL: time.Hour}, "", nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		"", ".", "cfs.", "cfb.", service.text[:len(service.text)-1], service.text + "0", strings.ToLower(service.text), service.Accessor,
		batch[:len(batch)-1], batch + "A", batch[:20], "cfb." + batch, token.BatchPrefix + strings.Repeat("A", 64), "cfs." + strings.Repeat("0", 22),
		"s.custom", "custom", strings.Repeat("x", token.MaxLen), strings.Repeat("x", token.MaxLen+1), "\x00", "\xff", entry.Accessor,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if text == service.text || text == batch {
			return
		}
		if _, err := w.Authenticate(t.Context(), text); !errors.Is(err, fault.Denied) {
			t.Errorf("%q: %v, want denied", text, err)
		}
		if err := w.Revoke(t.Context(), w.Handle(text)); err != nil {
			t.Errorf("revoking %q: %v", text, err)
		}
	})
}
