package seal_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/seal"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

func intervalOf(d time.Duration) seal.RotationRequest {
	return seal.RotationRequest{Interval: wire.Some(wire.Duration(d))}
}

// rekeyTo runs a rekey up to its last old share and returns the result.
func (s *server) rekeyTo(t *testing.T, old []string, in seal.RekeyRequest) *seal.RekeyResult {
	t.Helper()
	st, err := s.StartRekey(t.Context(), sudo, in)
	if err != nil {
		t.Fatal(err)
	}
	for i, share := range old {
		status, result, err := s.UpdateRekey(t.Context(), sudo, seal.ShareRequest{Key: wire.Secret(share), Nonce: st.Nonce})
		if err != nil {
			t.Fatal(err)
		}
		if last := i == len(old)-1; last != (result != nil) || last == (status != nil) {
			t.Fatalf("share %d of %d: status %v, result %v", i+1, len(old), status, result)
		}
		if result != nil {
			return result
		}
	}
	return nil
}

// verify gives new shares.
func (s *server) verify(t *testing.T, nonce string, shares ...string) (result *seal.VerifyResult, err error) {
	t.Helper()
	for _, share := range shares {
		if _, result, err = s.VerifyRekey(t.Context(), sudo, seal.ShareRequest{Key: wire.Secret(share), Nonce: nonce}); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// TestSharesAfterEveryChange is the matrix of what the old and the new shares
// do after each kind of change.
func TestSharesAfterEveryChange(t *testing.T) {
	type change func(t *testing.T, srv *server, old []string) (fresh []string)
	cases := []struct {
		name               string
		change             change
		oldOpens, newOpens bool
	}{
		{"rotating the data key", func(t *testing.T, srv *server, _ []string) []string {
			if err := srv.RotateDataKey(t.Context()); err != nil {
				t.Fatal(err)
			}
			return nil
		}, true, false},
		{"rotating the root key", func(t *testing.T, srv *server, _ []string) []string {
			if err := srv.RotateRootKey(t.Context()); err != nil {
				t.Fatal(err)
			}
			return nil
		}, true, false},
		{"rotating both, twice", func(t *testing.T, srv *server, _ []string) []string {
			for range 2 {
				if err := errors.Join(srv.RotateRootKey(t.Context()), srv.RotateDataKey(t.Context())); err != nil {
					t.Fatal(err)
				}
			}
			return nil
		}, true, false},
		{"rekey", func(t *testing.T, srv *server, old []string) []string {
			return srv.rekeyTo(t, old[:2], seal.RekeyRequest{Shares: 4, Threshold: 3}).KeysBase64[:3]
		}, false, true},
		{"rekey to one share", func(t *testing.T, srv *server, old []string) []string {
			return srv.rekeyTo(t, old[:2], seal.RekeyRequest{Shares: 1, Threshold: 1}).KeysBase64
		}, false, true},
		{"rekey, then rotating the root key", func(t *testing.T, srv *server, old []string) []string {
			fresh := srv.rekeyTo(t, old[:2], seal.RekeyRequest{Shares: 4, Threshold: 3}).KeysBase64[:3]
			if err := srv.RotateRootKey(t.Context()); err != nil {
				t.Fatal(err)
			}
			return fresh
		}, false, true},
		{"rekey to be verified", func(t *testing.T, srv *server, old []string) []string {
			return srv.rekeyTo(t, old[:2], seal.RekeyRequest{Shares: 4, Threshold: 3, RequireVerification: true}).KeysBase64[:3]
		}, true, false},
		{"rekey verified in part", func(t *testing.T, srv *server, old []string) []string {
			res := srv.rekeyTo(t, old[:2], seal.RekeyRequest{Shares: 4, Threshold: 3, RequireVerification: true})
			if _, err := srv.verify(t, res.VerificationNonce, res.KeysBase64[:2]...); err != nil {
				t.Fatal(err)
			}
			return res.KeysBase64[:3]
		}, true, false},
		{"rekey verified wrongly", func(t *testing.T, srv *server, old []string) []string {
			res := srv.rekeyTo(t, old[:2], seal.RekeyRequest{Shares: 4, Threshold: 3, RequireVerification: true})
			k := res.KeysBase64
			if _, err := srv.verify(t, res.VerificationNonce, k[0], k[1], spoil(k[2])); err == nil {
				t.Error("a wrong share verified")
			}
			return k[:3]
		}, true, false},
		{"rekey cancelled before verification", func(t *testing.T, srv *server, old []string) []string {
			res := srv.rekeyTo(t, old[:2], seal.RekeyRequest{Shares: 4, Threshold: 3, RequireVerification: true})
			if err := srv.CancelRekey(t.Context(), sudo, seal.CancelRequest{}); err != nil {
				t.Fatal(err)
			}
			if _, err := srv.verify(t, res.VerificationNonce, res.KeysBase64[0]); err == nil {
				t.Error("verifying went on")
			}
			return res.KeysBase64[:3]
		}, true, false},
		{"rekey verified", func(t *testing.T, srv *server, old []string) []string {
			res := srv.rekeyTo(t, old[:2], seal.RekeyRequest{Shares: 4, Threshold: 3, RequireVerification: true})
			done, err := srv.verify(t, res.VerificationNonce, res.KeysBase64[1:]...)
			if err != nil || !done.Complete {
				t.Fatal(done, err)
			}
			return res.KeysBase64[:3]
		}, false, true},
		{"rekey verified after the root key was rotated", func(t *testing.T, srv *server, old []string) []string {
			res := srv.rekeyTo(t, old[:2], seal.RekeyRequest{Shares: 4, Threshold: 3, RequireVerification: true})
			if err := srv.RotateRootKey(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := srv.verify(t, res.VerificationNonce, res.KeysBase64[:3]...); err != nil {
				t.Fatal(err)
			}
			return res.KeysBase64[:3]
		}, false, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			srv, s, old := ready(t, 3, 2)
			fresh := c.change(t, srv, old)
			combinations(old, 2, func(chosen []string) {
				if got := unseals(t, s, chosen...); got != c.oldOpens {
					t.Errorf("old shares unseal: %v, want %v", got, c.oldOpens)
				}
			})
			if fresh != nil {
				if got := unseals(t, s, fresh...); got != c.newOpens {
					t.Errorf("new shares unseal: %v, want %v", got, c.newOpens)
				}
			}
			// The running server is none the worse.
			if err := srv.RotateDataKey(t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestOldSealConfigurationPutBackOpensNothing(t *testing.T) {
	srv, s, old := ready(t, 3, 2)
	before := rowAt(t, s, sealRow)
	fresh := srv.rekeyTo(t, old[:2], seal.RekeyRequest{Shares: 3, Threshold: 2}).KeysBase64
	after := rowAt(t, s, sealRow)
	setRow(t, s, sealRow, before)
	if st, err := start(t, s).give(t, old[:2]...); err == nil || fault.KindOf(err) != fault.Internal {
		t.Errorf("unsealed with replayed configuration: sealed %v, %v", st.Sealed, err)
	}
	setRow(t, s, sealRow, after)
	if !unseals(t, s, fresh[:2]...) {
		t.Error("the right configuration does not open any more")
	}
}

func TestRekeyStatusThroughout(t *testing.T) {
	srv, _, old := ready(t, 3, 2)
	check := func(what string, want seal.RekeyStatus) seal.RekeyStatus {
		t.Helper()
		got, err := srv.RekeyStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmpopts.IgnoreFields(seal.RekeyStatus{}, "Nonce", "VerificationNonce")); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
		if (got.Nonce != "") != got.Started {
			t.Errorf("%s: nonce %q", what, got.Nonce)
		}
		return got
	}
	check("before", seal.RekeyStatus{Required: 2})
	if _, err := srv.StartRekey(t.Context(), sudo, seal.RekeyRequest{Shares: 5, Threshold: 4, RequireVerification: true}); err != nil {
		t.Fatal(err)
	}
	want := seal.RekeyStatus{Required: 2, Started: true, Shares: 5, Threshold: 4, VerificationRequired: true}
	nonce := check("started", want).Nonce
	for range 2 { // the same share twice counts once
		if _, _, err := srv.UpdateRekey(t.Context(), sudo, seal.ShareRequest{Key: wire.Secret(old[0]), Nonce: nonce}); err != nil {
			t.Fatal(err)
		}
	}
	want.Progress = 1
	check("one share", want)
	_, err := srv.StartRekey(t.Context(), sudo, seal.RekeyRequest{Shares: 1, Threshold: 1})
	mustBeKind(t, err, fault.Invalid)
	_, _, err = srv.UpdateRekey(t.Context(), sudo, seal.ShareRequest{Key: wire.Secret(spoil(old[1])), Nonce: nonce})
	mustBeKind(t, err, fault.Invalid)
	want.Progress = 0
	check("after wrong shares", want)
	_, err = srv.VerifyRekeyStatus(t.Context())
	mustBeKind(t, err, fault.Invalid)

	var res *seal.RekeyResult
	for _, share := range old[:2] {
		if _, res, err = srv.UpdateRekey(t.Context(), sudo, seal.ShareRequest{Key: wire.Secret(share), Nonce: nonce}); err != nil {
			t.Fatal(err)
		}
	}
	if got := check("to be verified", want); got.VerificationNonce != res.VerificationNonce || res.VerificationNonce == nonce {
		t.Errorf("verification nonce %q, in the status %q", res.VerificationNonce, got.VerificationNonce)
	}
	if _, err := srv.verify(t, res.VerificationNonce, res.KeysBase64[0]); err != nil {
		t.Fatal(err)
	}
	v, err := srv.RestartVerification(t.Context(), sudo, seal.CancelRequest{Nonce: res.VerificationNonce})
	if err != nil || v.Progress != 0 || v.Nonce == res.VerificationNonce || v.Shares != 5 || v.Threshold != 4 || !v.Started {
		t.Errorf("restarted: %+v, %v", v, err)
	}
	if _, err := srv.verify(t, res.VerificationNonce, res.KeysBase64[0]); err == nil {
		t.Error("the old verification nonce still counts")
	}
	if done, err := srv.verify(t, v.Nonce, res.KeysBase64[:4]...); err != nil || done == nil || done.Nonce != v.Nonce {
		t.Errorf("verified: %+v, %v", done, err)
	}
	check("after", seal.RekeyStatus{Required: 4})
}

func TestRekeyRefusals(t *testing.T) {
	srv, _, _ := ready(t, 1, 1)
	for name, in := range map[string]seal.RekeyRequest{
		"nothing":                 {},
		"threshold too large":     {Shares: 2, Threshold: 5},
		"threshold of one":        {Shares: 2, Threshold: 1},
		"backup without PGP keys": {Shares: 1, Threshold: 1, Backup: true},
		"PGP keys missing":        {Shares: 2, Threshold: 2, PGPKeys: []string{"x"}},
	} {
		_, err := srv.StartRekey(t.Context(), sudo, in)
		if err == nil || fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := srv.RekeyBackup(t.Context())
	mustBeKind(t, err, fault.Invalid)
	if err := srv.DeleteRekeyBackup(t.Context()); err != nil {
		t.Errorf("deleting no backup: %v", err)
	}
}

// TestStrangersChangeNothing lets callers without authority or nonce try every
// step of the ceremonies that have one slot.
func TestStrangersChangeNothing(t *testing.T) {
	srv, _, keys := ready(t, 3, 3)
	ctx := t.Context()
	rekeyStatus, err := srv.StartRekey(ctx, sudo, seal.RekeyRequest{Shares: 1, Threshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	rootStatus, err := srv.StartRootToken(ctx, sudo, seal.RootTokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys[:2] {
		if _, _, err := srv.UpdateRekey(ctx, sudo, seal.ShareRequest{Key: wire.Secret(k), Nonce: rekeyStatus.Nonce}); err != nil {
			t.Fatal(err)
		}
		if _, err := srv.UpdateRootToken(ctx, sudo, seal.ShareRequest{Key: wire.Secret(k), Nonce: rootStatus.Nonce}); err != nil {
			t.Fatal(err)
		}
	}
	junk := wire.Secret(spoil(keys[2]))
	type try func(who seal.Authority, nonce string) error
	tries := map[string]try{
		"rekey start": func(who seal.Authority, _ string) error {
			_, err := srv.StartRekey(ctx, who, seal.RekeyRequest{Shares: 1, Threshold: 1})
			return err
		},
		"rekey update": func(who seal.Authority, nonce string) error {
			_, _, err := srv.UpdateRekey(ctx, who, seal.ShareRequest{Key: junk, Nonce: nonce})
			return err
		},
		"rekey cancel": func(who seal.Authority, nonce string) error {
			return srv.CancelRekey(ctx, who, seal.CancelRequest{Nonce: nonce})
		},
		"rekey verify": func(who seal.Authority, nonce string) error {
			_, _, err := srv.VerifyRekey(ctx, who, seal.ShareRequest{Key: junk, Nonce: nonce})
			return err
		},
		"rekey verify restart": func(who seal.Authority, nonce string) error {
			_, err := srv.RestartVerification(ctx, who, seal.CancelRequest{Nonce: nonce})
			return err
		},
		"root token start": func(who seal.Authority, _ string) error {
			_, err := srv.StartRootToken(ctx, who, seal.RootTokenRequest{})
			return err
		},
		"root token update": func(who seal.Authority, nonce string) error {
			_, err := srv.UpdateRootToken(ctx, who, seal.ShareRequest{Key: junk, Nonce: nonce})
			return err
		},
		"root token cancel": func(who seal.Authority, nonce string) error {
			return srv.CancelRootToken(ctx, who, seal.CancelRequest{Nonce: nonce})
		},
	}
	for name, f := range tries {
		t.Run(name, func(t *testing.T) {
			for _, nonce := range []string{"", "wrong", rekeyStatus.Nonce, rootStatus.Nonce} {
				mustBeKind(t, f(nobody, nonce), fault.Denied)
			}
			for _, nonce := range []string{"", "wrong"} {
				mustBeKind(t, f(open, nonce), fault.Invalid)
			}
			mustBeKind(t, f(sudo, "wrong"), fault.Invalid)
		})
	}
	if st, _ := srv.RekeyStatus(ctx); st.Progress != 2 || st.Nonce != rekeyStatus.Nonce {
		t.Errorf("rekey: %+v", st)
	}
	if st, _ := srv.RootTokenStatus(ctx); st.Progress != 2 || st.Nonce != rootStatus.Nonce {
		t.Errorf("root token: %d, %q", st.Progress, st.Nonce)
	}
	// Who knows the nonce may go on, also without a token if that is allowed.
	if _, res, err := srv.UpdateRekey(ctx, open, seal.ShareRequest{Key: wire.Secret(keys[2]), Nonce: rekeyStatus.Nonce}); err != nil || res == nil {
		t.Errorf("the right nonce: %v", err)
	}
	if err := srv.CancelRootToken(ctx, open, seal.CancelRequest{Nonce: rootStatus.Nonce}); err != nil {
		t.Errorf("cancelling with the right nonce: %v", err)
	}
}

// faulty is a store that fails where it is told to.
type faulty struct {
	store.Store
	failPut, failCommit bool
	// mute commits and says that it could not; dead fails everything.
	// After mute comes dead, unless it is brief.
	mute, dead, brief bool
}

var errDisk = fault.New(fault.Unavailable, "disk failed")

func (f *faulty) Update(ctx context.Context, fn func(store.Txn) error) (store.Index, error) {
	if f.dead {
		return 0, errDisk
	}
	if f.mute {
		f.mute, f.dead = false, !f.brief
		if _, err := f.Store.Update(ctx, fn); err != nil {
			return 0, err
		}
		return 0, errDisk
	}
	return f.Store.Update(ctx, func(txn store.Txn) error {
		if err := fn(faultyTxn{txn, f}); err != nil {
			return err
		}
		if f.failCommit {
			return errDisk
		}
		return nil
	})
}

type faultyTxn struct {
	store.Txn
	f *faulty
}

func (t faultyTxn) Put(k store.Key, v []byte) error {
	if t.f.failPut {
		return errDisk
	}
	return t.Txn.Put(k, v)
}

// TestDeathAtEveryStep ends the process, or fails the disk, after every step of
// a rekey with verification. One set of shares must unseal, never neither.
func TestDeathAtEveryStep(t *testing.T) {
	type state struct {
		srv *server
		f   *faulty
		old []string
		res *seal.RekeyResult
		st  seal.RekeyStatus
	}
	ctx := t.Context()
	update := func(x *state, i int) (err error) {
		_, x.res, err = x.srv.UpdateRekey(ctx, sudo, seal.ShareRequest{Key: wire.Secret(x.old[i]), Nonce: x.st.Nonce})
		return err
	}
	verify := func(x *state, i int) error {
		_, _, err := x.srv.VerifyRekey(ctx, sudo, seal.ShareRequest{Key: wire.Secret(x.res.KeysBase64[i]), Nonce: x.res.VerificationNonce})
		return err
	}
	steps := []struct {
		name string
		do   func(*state) error
	}{
		{"start", func(x *state) (err error) {
			x.st, err = x.srv.StartRekey(ctx, sudo, seal.RekeyRequest{Shares: 2, Threshold: 2, RequireVerification: true})
			return err
		}},
		{"first old share", func(x *state) error { return update(x, 0) }},
		{"second old share", func(x *state) error { return update(x, 1) }},
		{"first new share", func(x *state) error { return verify(x, 0) }},
		{"second new share", func(x *state) error { return verify(x, 1) }},
	}
	for dies := range steps {
		for _, how := range []string{"killed", "put fails", "commit fails"} {
			t.Run(steps[dies].name+", "+how, func(t *testing.T) {
				inner := mem.New()
				x := &state{f: &faulty{Store: inner}}
				x.srv = start(t, x.f)
				x.old = x.srv.initialize(t, 3, 2)
				x.srv.mustUnseal(t, x.old[:2]...)
				for i, step := range steps[:dies+1] {
					if i == dies {
						x.f.failPut, x.f.failCommit = how == "put fails", how == "commit fails"
					}
					if err := step.do(x); err != nil && (i < dies || !errors.Is(err, errDisk)) {
						t.Fatalf("%s: %v", step.name, err)
					}
				}
				committed := dies == len(steps)-1 && how == "killed"
				if got := unseals(t, inner, x.old[:2]...); got == committed {
					t.Errorf("old shares unseal: %v", got)
				}
				if x.res != nil {
					if got := unseals(t, inner, x.res.KeysBase64...); got != committed {
						t.Errorf("new shares unseal: %v", got)
					}
				}
			})
		}
	}
}

func TestFailedCommitCanBeTriedAgain(t *testing.T) {
	f := &faulty{Store: mem.New()}
	srv := start(t, f)
	old := srv.initialize(t, 1, 1)
	srv.mustUnseal(t, old...)
	for name, op := range map[string]func() error{
		"root key": func() error { return srv.RotateRootKey(t.Context()) },
		"data key": func() error { return srv.RotateDataKey(t.Context()) },
		"settings": func() error { return srv.ConfigureRotation(t.Context(), intervalOf(24*time.Hour)) },
	} {
		f.failCommit = true
		if err := op(); !errors.Is(err, errDisk) {
			t.Errorf("%s: %v", name, err)
		}
		f.failCommit = false
		if err := op(); err != nil {
			t.Errorf("%s, again: %v", name, err)
		}
	}
	st, err := srv.StartRekey(t.Context(), sudo, seal.RekeyRequest{Shares: 1, Threshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	give := seal.ShareRequest{Key: wire.Secret(old[0]), Nonce: st.Nonce}
	f.failCommit = true
	if _, res, err := srv.UpdateRekey(t.Context(), sudo, give); !errors.Is(err, errDisk) || res != nil {
		t.Errorf("rekey: %v, %v", res, err)
	}
	f.failCommit = false
	if !unseals(t, f, old...) {
		t.Error("the old share is lost")
	}
	_, res, err := srv.UpdateRekey(t.Context(), sudo, give)
	if err != nil || !unseals(t, f, res.KeysBase64...) {
		t.Errorf("rekey, again: %v", err)
	}
}

func TestSealingForgetsCeremonies(t *testing.T) {
	srv, _, keys := ready(t, 2, 2)
	if _, err := srv.StartRekey(t.Context(), sudo, seal.RekeyRequest{Shares: 1, Threshold: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := srv.StartRootToken(t.Context(), sudo, seal.RootTokenRequest{}); err != nil {
		t.Fatal(err)
	}
	srv.Seal(t.Context())
	_, err := srv.RekeyStatus(t.Context())
	mustBeKind(t, err, fault.Sealed)
	_, err = srv.StartRootToken(t.Context(), sudo, seal.RootTokenRequest{})
	mustBeKind(t, err, fault.Sealed)
	mustBeKind(t, srv.RotateRootKey(t.Context()), fault.Sealed)
	srv.mustUnseal(t, keys...)
	if st, err := srv.RekeyStatus(t.Context()); err != nil || st.Started {
		t.Errorf("rekey after sealing: %+v, %v", st, err)
	}
	if st, err := srv.RootTokenStatus(t.Context()); err != nil || st.Started {
		t.Errorf("root generation after sealing: started %v, %v", st.Started, err)
	}
}

func TestNoKeyInTheStoreOrTheErrors(t *testing.T) {
	srv, s, keys := ready(t, 1, 1)
	err := s.View(t.Context(), func(r store.Reader) error {
		for e, err := range r.Scan(store.Range{}) {
			if err != nil {
				return err
			}
			for _, form := range forms(keys[0]) {
				if strings.Contains(string(e.Value), form) {
					t.Errorf("row of kind %d holds the unseal key", e.Key.Kind())
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	srv.Seal(t.Context())
}

// TestUncertainRekey lets the store fall silent around the commit of a rekey
// without verification, with and without having committed.
func TestUncertainRekey(t *testing.T) {
	for name, committed := range map[string]bool{"committed": true, "not committed": false} {
		t.Run(name, func(t *testing.T) {
			f := &faulty{Store: mem.New()}
			srv := start(t, f)
			old := srv.initialize(t, 3, 2)
			srv.mustUnseal(t, old[:2]...)
			st, err := srv.StartRekey(t.Context(), sudo, seal.RekeyRequest{Shares: 1, Threshold: 1})
			if err != nil {
				t.Fatal(err)
			}
			give := func(share string) (*seal.RekeyResult, error) {
				_, res, err := srv.UpdateRekey(t.Context(), sudo, seal.ShareRequest{Key: wire.Secret(share), Nonce: st.Nonce})
				return res, err
			}
			if _, err := give(old[0]); err != nil {
				t.Fatal(err)
			}
			f.mute, f.dead = committed, !committed
			for range 2 { // the last share, and once more while the store is dead
				if res, err := give(old[1]); !errors.Is(err, errDisk) || res != nil {
					t.Fatalf("silent store: %v, %v", res, err)
				}
			}
			if err := srv.CancelRekey(t.Context(), sudo, seal.CancelRequest{}); !errors.Is(err, errDisk) {
				t.Errorf("cancelling while the outcome is open: %v", err)
			}
			if _, err := srv.VerifyRekeyStatus(t.Context()); err == nil {
				t.Error("there is nothing to verify")
			}
			f.dead = false
			if err := srv.CancelRekey(t.Context(), sudo, seal.CancelRequest{}); committed && fault.KindOf(err) != fault.Invalid || !committed && err != nil {
				t.Errorf("cancelling: %v", err)
			}
			if !committed {
				if !unseals(t, f, old[:2]...) {
					t.Error("the old shares are lost")
				}
				return
			}
			for _, wrong := range []string{old[2], spoil(old[1])} {
				if res, err := give(wrong); err == nil {
					t.Errorf("a share that was not given brings %v", res)
				}
			}
			res, err := give(old[0])
			if err != nil || !unseals(t, f, res.KeysBase64...) {
				t.Fatalf("the new shares: %v", err)
			}
			if st, err := srv.RekeyStatus(t.Context()); err != nil || st.Started {
				t.Errorf("afterwards: %+v, %v", st, err)
			}
		})
	}
}

// TestRekeyWhoseCommitWasNotAcknowledged settles by itself when the store
// answers again at once.
func TestRekeyWhoseCommitWasNotAcknowledged(t *testing.T) {
	f := &faulty{Store: mem.New()}
	srv := start(t, f)
	old := srv.initialize(t, 1, 1)
	srv.mustUnseal(t, old...)
	st, err := srv.StartRekey(t.Context(), sudo, seal.RekeyRequest{Shares: 2, Threshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	f.mute, f.brief = true, true
	_, res, err := srv.UpdateRekey(t.Context(), sudo, seal.ShareRequest{Key: wire.Secret(old[0]), Nonce: st.Nonce})
	if err != nil || !unseals(t, f, res.KeysBase64...) {
		t.Errorf("rekey: %v", err)
	}
}
