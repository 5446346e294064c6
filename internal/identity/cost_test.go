package identity_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/identity"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
)

// admission returns what the gate does for a request of an entity that is in
// two groups.
func admission(t testing.TB, templated bool) func() {
	t.Helper()
	site := newSite(t)
	s := site.Server
	if templated {
		s.Policy("mine", `path "secret/data/{{identity.entity.id}}/*" { capabilities = ["read"] }`)
	}
	_, id := site.login("dir", "bob", nil)
	group := site.make("identity/group", object{"name": "g", "policies": []string{"mine", "b"}, "member_entity_ids": []string{id}})
	site.make("identity/group", object{"name": "above", "policies": []string{"c", "d"}, "member_group_ids": []string{group}})
	ids, policies := s.Gate().Identity, s.Gate().Policies
	token := []string{"default", "z"}
	return func() {
		p, err := ids.Admit(context.Background(), store.RootNamespace, id)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := policies.ACL(context.Background(), store.RootNamespace, p.With(token), p.Identity()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAdmittingAnEntityAllocatesNothing(t *testing.T) {
	for _, templated := range []bool{false, true} {
		admit := admission(t, templated)
		if n := testing.AllocsPerRun(1000, admit); n > 0 {
			t.Errorf("templated %v: %v allocations for a request, want none", templated, n)
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	for name, templated := range map[string]bool{"plain": false, "templated": true} {
		admit := admission(b, templated)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				admit()
			}
		})
	}
}

// What is kept in memory is bounded, and right beyond the bound.
func TestManyEntitiesAreRightBeyondTheCache(t *testing.T) {
	if testing.Short() {
		t.Skip("makes more entities than the cache holds")
	}
	st := mem.New()
	defer st.Close()
	ids := newStore(t, st)
	const many = 40000 // the cache holds 32768
	entities := make([]string, many)
	const together = 1000
	for i := 0; i < many; i += together {
		_, err := st.Update(t.Context(), func(tx store.Txn) error {
			for j := i; j < i+together; j++ {
				_, write, err := ids.ForLogin(t.Context(), identity.Login{NS: store.RootNamespace, Accessor: "auth_x", Name: fmt.Sprint(j)})
				if err != nil {
					return err
				}
				if entities[j], err = write(tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range entities {
		p, err := ids.Principal(t.Context(), store.RootNamespace, id)
		if err != nil || p.ID() != id {
			t.Fatalf("principal of %s: got %v, %v", id, p, err)
		}
	}
}

func newStore(t testing.TB, st store.Store) *identity.Store {
	t.Helper()
	ids := identity.New(identity.Config{Store: st, Clock: clock.System{}, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(ids.Close)
	return ids
}

// With is the union of two sorted lists, for any number of tokens.
func TestWithJoinsTheTokensPolicies(t *testing.T) {
	s := newSite(t)
	id := s.make("identity/entity", object{"policies": []string{"b", "d"}})
	p, err := s.Gate().Identity.Principal(t.Context(), store.RootNamespace, id)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for i := range 30 {
			token := []string{"a", "d", fmt.Sprintf("p%02d", i)}
			want := []string{"a", "b", "d", fmt.Sprintf("p%02d", i)}
			if got := p.With(token); !slices.Equal(got, want) {
				t.Errorf("with %q: got %q, want %q", token, got, want)
			}
		}
	}
	if got := p.With(nil); !slices.Equal(got, []string{"b", "d"}) {
		t.Errorf("with nothing: got %q", got)
	}
}
