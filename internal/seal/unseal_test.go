package seal_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/seal"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/store/storetest"
	"github.com/cofferhq/coffer/internal/wire"
)

func TestInitRefusals(t *testing.T) {
	cases := map[string]seal.InitRequest{
		"nothing":                {},
		"no threshold":           {Shares: 3},
		"threshold too large":    {Shares: 5, Threshold: 9},
		"threshold of one":       {Shares: 3, Threshold: 1},
		"negative":               {Shares: -1, Threshold: -1},
		"too many":               {Shares: 256, Threshold: 3},
		"too few PGP keys":       {Shares: 3, Threshold: 2, PGPKeys: []string{"AAAA"}},
		"PGP key that is none":   {Shares: 1, Threshold: 1, PGPKeys: []string{"AAAA"}},
		"PGP key not base64":     {Shares: 1, Threshold: 1, PGPKeys: []string{"\x00"}},
		"root token key is none": {Shares: 1, Threshold: 1, RootTokenPGPKey: "AAAA"},
		"recovery shares":        {Shares: 1, Threshold: 1, RecoveryShares: 1},
		"recovery keys":          {Shares: 1, Threshold: 1, RecoveryPGPKeys: []string{"x"}},
	}
	for name, in := range cases {
		t.Run(name, func(t *testing.T) {
			s := mem.New()
			before := storetest.Digest(s)
			_, err := start(t, s).Init(t.Context(), in)
			mustBeKind(t, err, fault.Invalid)
			if fault.Message(err) == "" {
				t.Error("the client is told nothing")
			}
			if storetest.Digest(s) != before {
				t.Error("the store was changed")
			}
		})
	}
}

func TestInitIsAllOrNothing(t *testing.T) {
	s := mem.New()
	before := storetest.Digest(s)
	srv := start(t, s)
	srv.nextErr = errors.New("no token today")
	if _, err := srv.Init(t.Context(), seal.InitRequest{Shares: 3, Threshold: 2}); err == nil {
		t.Fatal("init without a root token passed")
	}
	if storetest.Digest(s) != before {
		t.Error("the store was changed")
	}
	if done, err := srv.Initialized(t.Context()); done || err != nil {
		t.Errorf("initialized %v, %v", done, err)
	}
	keys := srv.initialize(t, 3, 2)
	if _, err := srv.Init(t.Context(), seal.InitRequest{Shares: 3, Threshold: 2}); fault.Message(err) != "Vault is already initialized" {
		t.Errorf("a second init: %v", err)
	}
	if !unseals(t, s, keys[:2]...) {
		t.Error("the shares do not unseal")
	}
}

func TestRacingInitsMakeOneCluster(t *testing.T) {
	s := mem.New()
	type outcome struct {
		keys []string
		err  error
	}
	results := make(chan outcome)
	for range 4 {
		srv := start(t, s)
		go func() {
			res, err := srv.Init(t.Context(), seal.InitRequest{Shares: 1, Threshold: 1})
			results <- outcome{res.KeysBase64, err}
		}()
	}
	won := 0
	for range 4 {
		if r := <-results; r.err == nil {
			won++
			if !unseals(t, s, r.keys...) {
				t.Error("the winner's share does not unseal")
			}
		}
	}
	if won != 1 {
		t.Errorf("%d inits succeeded", won)
	}
}

func TestEveryCombinationOfShares(t *testing.T) {
	for _, c := range []struct{ shares, threshold int }{{1, 1}, {2, 2}, {3, 2}, {5, 3}, {6, 6}} {
		t.Run(fmt.Sprintf("%d of %d", c.threshold, c.shares), func(t *testing.T) {
			s := mem.New()
			keys := start(t, s).initialize(t, c.shares, c.threshold)
			for k := 1; k <= c.shares; k++ {
				combinations(keys, k, func(chosen []string) {
					if got := unseals(t, s, chosen...); got != (k >= c.threshold) {
						t.Errorf("%d shares unseal: %v", k, got)
					}
				})
			}
		})
	}
}

func TestSharesInEveryForm(t *testing.T) {
	for _, n := range []int{1, 3} {
		s := mem.New()
		keys := start(t, s).initialize(t, n, (n+1)/2)
		for _, form := range forms(keys[0]) {
			if !unseals(t, s, append([]string{form}, keys[1:]...)...) {
				t.Errorf("%d shares: %d characters do not unseal", n, len(form))
			}
		}
	}
}

func TestUnsealCycle(t *testing.T) {
	s := mem.New()
	srv := start(t, s)
	status := func() seal.Status {
		t.Helper()
		st, err := srv.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	same := func(what string, got, want seal.Status) {
		t.Helper()
		want.Type, want.Version, want.StorageType = "shamir", "1.2.3", "mem"
		ignore := cmpopts.IgnoreFields(seal.Status{}, "Nonce", "ClusterID", "ClusterName")
		if d := cmp.Diff(want, got, ignore); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
		if (got.Nonce != "") != (got.Progress > 0) || (got.ClusterID != "") == got.Sealed || (got.ClusterName != "") == got.Sealed {
			t.Errorf("%s: nonce %q, cluster %q %q", what, got.Nonce, got.ClusterID, got.ClusterName)
		}
	}
	same("fresh", status(), seal.Status{Sealed: true})
	_, err := srv.give(t, "AAAA")
	mustBeKind(t, err, fault.Invalid)

	keys := srv.initialize(t, 3, 2)
	same("initialised", status(), seal.Status{Sealed: true, Initialized: true, Shares: 3, Threshold: 2})

	one, err := srv.give(t, keys[0])
	if err != nil {
		t.Fatal(err)
	}
	same("one share", one, seal.Status{Sealed: true, Initialized: true, Shares: 3, Threshold: 2, Progress: 1})
	again, _ := srv.give(t, asHex(keys[0]))
	same("the same share", again, seal.Status{Sealed: true, Initialized: true, Shares: 3, Threshold: 2, Progress: 1})
	if again.Nonce != one.Nonce {
		t.Error("the nonce changed")
	}
	reset, err := srv.Unseal(t.Context(), seal.UnsealRequest{Reset: true})
	if err != nil {
		t.Fatal(err)
	}
	same("reset", reset, seal.Status{Sealed: true, Initialized: true, Shares: 3, Threshold: 2})

	done, err := srv.give(t, keys[2], keys[1])
	if err != nil {
		t.Fatal(err)
	}
	same("unsealed", done, seal.Status{Initialized: true, Shares: 3, Threshold: 2})
	if after, err := srv.give(t, "AAAA"); err != nil || after.Sealed {
		t.Errorf("a share too many: %+v, %v", after, err)
	}
	for _, in := range []seal.UnsealRequest{{}, {Reset: true}} {
		_, err := srv.Unseal(t.Context(), in)
		mustBeKind(t, err, fault.Invalid)
	}
	b := srv.barrier
	srv.Seal(t.Context())
	same("sealed", status(), seal.Status{Sealed: true, Initialized: true, Shares: 3, Threshold: 2})
	if err := b.View(t.Context(), func(store.Reader) error { return nil }); !errors.Is(err, fault.Sealed) {
		t.Errorf("the barrier after sealing: %v", err)
	}
	if _, err := srv.Barrier(); !errors.Is(err, fault.Sealed) {
		t.Errorf("Barrier after sealing: %v", err)
	}
	srv.Seal(t.Context())
	if len(srv.sealed) != 1 {
		t.Errorf("Sealed was called %d times", len(srv.sealed))
	}
	srv.mustUnseal(t, keys[:2]...)
}

func TestWrongSharesResetTheProgress(t *testing.T) {
	other := start(t, mem.New()).initialize(t, 3, 2)
	s := mem.New()
	srv := start(t, s)
	keys := srv.initialize(t, 3, 2)
	samePoint := spoil(keys[0]) // same point, other value: cannot be combined
	cases := map[string][]string{
		"changed":               {keys[0], spoil(keys[1])},
		"of another cluster":    {keys[0], other[0]},
		"all of another":        {other[0], other[1]},
		"one point, two values": {keys[0], samePoint},
	}
	for name, given := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := srv.give(t, given...)
			mustBeKind(t, err, fault.Invalid)
			if st, _ := srv.Status(t.Context()); st.Progress != 0 || st.Nonce != "" || !st.Sealed {
				t.Errorf("afterwards: %+v", st)
			}
		})
	}
	for _, malformed := range []string{"AAAA", "zz", "!!", strings.Repeat("A", 45), asHex(keys[0]) + "00", keys[0] + keys[1]} {
		srv.Unseal(t.Context(), seal.UnsealRequest{Reset: true})
		if _, err := srv.give(t, keys[0]); err != nil {
			t.Fatal(err)
		}
		_, err := srv.give(t, malformed)
		mustBeKind(t, err, fault.Invalid)
		if strings.Contains(err.Error(), malformed) {
			t.Errorf("the error repeats the share: %v", err)
		}
		if st, _ := srv.Status(t.Context()); st.Progress != 1 {
			t.Errorf("a malformed share changed the progress to %d", st.Progress)
		}
	}
	srv.mustUnseal(t, keys[0], keys[1])
}

func TestServerThatDoesNotStartStaysSealed(t *testing.T) {
	s := mem.New()
	srv := start(t, s)
	keys := srv.initialize(t, 1, 1)
	srv.nextErr = errors.New("mount table is broken")
	if _, err := srv.give(t, keys...); err == nil || fault.KindOf(err) != fault.Internal {
		t.Errorf("unseal: %v", err)
	}
	if st, _ := srv.Status(t.Context()); !st.Sealed || st.Progress != 0 {
		t.Errorf("afterwards: %+v", st)
	}
	srv.mustUnseal(t, keys...)
}

var sealRow = store.NewKey(store.RootNamespace, store.System, store.KindSealConfig)

func rowAt(t *testing.T, s store.Store, k store.Key) []byte {
	t.Helper()
	var out []byte
	if err := s.View(t.Context(), func(r store.Reader) error {
		v, err := r.Get(k)
		out = append(out, v...)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func setRow(t *testing.T, s store.Store, k store.Key, v []byte) {
	t.Helper()
	if _, err := s.Update(t.Context(), func(txn store.Txn) error { return txn.Put(k, v) }); err != nil {
		t.Fatal(err)
	}
}

func TestEditedSealConfigurationOpensNothing(t *testing.T) {
	cases := map[string]func(m map[string]any){
		"fewer shares needed": func(m map[string]any) { m["threshold"] = 2 },
		"more shares":         func(m map[string]any) { m["shares"] = 6 },
		"another type":        func(m map[string]any) { m["type"] = "none" },
		"out of bounds":       func(m map[string]any) { m["threshold"] = 0 },
		"no root key":         func(m map[string]any) { delete(m, "root_key") },
		"another root key":    func(m map[string]any) { m["root_key"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" },
	}
	for name, edit := range cases {
		t.Run(name, func(t *testing.T) {
			s := mem.New()
			keys := start(t, s).initialize(t, 5, 3)
			var m map[string]any
			if err := json.Unmarshal(rowAt(t, s, sealRow), &m); err != nil {
				t.Fatal(err)
			}
			edit(m)
			raw, _ := json.Marshal(m)
			setRow(t, s, sealRow, raw)
			srv := start(t, s)
			if st, err := srv.give(t, keys[:3]...); err == nil && !st.Sealed {
				t.Error("unsealed")
			}
		})
	}
}

func TestLostKeyringSealsTheServer(t *testing.T) {
	srv, s, keys := ready(t, 1, 1)
	done := make(chan error)
	ctx, cancel := contextWithCancel(t)
	go func() { done <- srv.Run(ctx) }()
	keyring := store.NewKey(store.RootNamespace, store.System, store.KindKeyring)
	good := rowAt(t, s, keyring)
	setRow(t, s, keyring, []byte("gone"))
	<-srv.sealed
	setRow(t, s, keyring, good)
	srv.mustUnseal(t, keys...)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := srv.Barrier(); !errors.Is(err, barrier.ErrSealed) {
		t.Errorf("after Run: %v", err)
	}
}

func TestDataKeyRotatesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		srv := startWith(t, s, seal.Config{Clock: clock.System{}})
		srv.mustUnseal(t, srv.initialize(t, 1, 1)...)
		if err := srv.ConfigureRotation(t.Context(), intervalOf(48*time.Hour)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := contextWithCancel(t)
		done := make(chan error)
		go func() { done <- srv.Run(ctx) }()
		<-time.After(47 * time.Hour)
		synctest.Wait()
		if st, _ := srv.KeyStatus(t.Context()); st.Term != 1 {
			t.Errorf("term %d too early", st.Term)
		}
		<-time.After(2 * time.Hour)
		synctest.Wait()
		if st, _ := srv.KeyStatus(t.Context()); st.Term != 2 {
			t.Errorf("term %d too late", st.Term)
		}
		cancel()
		<-done
	})
}

// TestSealingDoesNotWait seals while a rotation hangs in the store, and asks
// for the status.
func TestSealingDoesNotWait(t *testing.T) {
	h := &hanging{Store: mem.New(), entered: make(chan struct{})}
	srv := start(t, h)
	keys := srv.initialize(t, 1, 1)
	srv.mustUnseal(t, keys...)
	st, err := srv.StartRekey(t.Context(), sudo, seal.RekeyRequest{Shares: 1, Threshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	h.hang.Store(true)
	ctx, cancel := contextWithCancel(t)
	rekeyed, closed := make(chan error), make(chan struct{})
	go func() {
		_, _, err := srv.UpdateRekey(ctx, sudo, seal.ShareRequest{Key: wire.Secret(keys[0]), Nonce: st.Nonce})
		rekeyed <- err
	}()
	<-h.entered
	go func() {
		srv.Seal(t.Context())
		close(closed)
	}()
	<-srv.sealed
	if st, err := srv.Status(t.Context()); err != nil || !st.Sealed {
		t.Errorf("status: %+v, %v", st, err)
	}
	h.hang.Store(false) // for what comes; the rekey still hangs
	cancel()
	if err := <-rekeyed; !errors.Is(err, context.Canceled) {
		t.Errorf("rekey: %v", err)
	}
	<-closed
	srv.mustUnseal(t, keys...)
}

// hanging is a store whose updates, when told to, wait for their context.
type hanging struct {
	store.Store
	hang    atomic.Bool
	entered chan struct{}
}

func (h *hanging) Update(ctx context.Context, fn func(store.Txn) error) (store.Index, error) {
	if h.hang.Load() {
		close(h.entered)
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return h.Store.Update(ctx, fn)
}
