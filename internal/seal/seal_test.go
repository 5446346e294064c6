package seal_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/seal"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

const tokenLength = 26

// tokenRow counts the root tokens made, behind the barrier.
var tokenRow = store.NewKey(store.RootNamespace, store.System, store.KindToken, "root")

var (
	sudo   = seal.Authority{Sudo: true}
	open   = seal.Authority{Open: true}
	nobody = seal.Authority{}
)

// server stands for what runs over the barrier.
type server struct {
	*seal.Ceremony
	barrier  *barrier.Barrier // while unsealed
	sealed   chan struct{}    // told of every sealing
	nextErr  error            // of the next callback
	unsealed int
}

// start returns a server over s, as after the start of the process.
func start(t testing.TB, s store.Store) *server {
	t.Helper()
	return startWith(t, s, seal.Config{})
}

func startWith(t testing.TB, s store.Store, cfg seal.Config) *server {
	t.Helper()
	srv := &server{sealed: make(chan struct{}, 100)}
	fail := func() error { err := srv.nextErr; srv.nextErr = nil; return err }
	cfg.Store, cfg.RootTokenLength, cfg.Version, cfg.StorageType = s, tokenLength, "1.2.3", "mem"
	if cfg.Clock == nil {
		cfg.Clock = clock.NewFake(clock.System{}.Now())
	}
	cfg.NewRootToken = func(ctx context.Context, b *barrier.Barrier) (string, error) {
		n := byte(0)
		_, err := b.Update(ctx, func(txn store.Txn) error {
			if old, err := txn.Get(tokenRow); err == nil {
				n = old[0] + 1
			}
			return txn.Put(tokenRow, []byte{n})
		})
		if err == nil {
			err = fail()
		}
		return fmt.Sprintf("s.%024d", n), err
	}
	cfg.Unsealed = func(_ context.Context, b *barrier.Barrier) error {
		if err := fail(); err != nil {
			return err
		}
		srv.barrier = b
		srv.unsealed++
		return nil
	}
	cfg.Sealed = func(context.Context) {
		srv.barrier = nil
		srv.sealed <- struct{}{}
	}
	var err error
	if srv.Ceremony, err = seal.New(cfg); err != nil {
		t.Fatal(err)
	}
	return srv
}

// initialize makes a cluster and returns its shares.
func (s *server) initialize(t testing.TB, shares, threshold int) []string {
	t.Helper()
	res, err := s.Init(t.Context(), seal.InitRequest{Shares: shares, Threshold: threshold})
	if err != nil {
		t.Fatal(err)
	}
	return res.KeysBase64
}

// give gives shares to unseal and returns the last answer.
func (s *server) give(t testing.TB, shares ...string) (seal.Status, error) {
	t.Helper()
	var last seal.Status
	for _, share := range shares {
		var err error
		if last, err = s.Unseal(t.Context(), seal.UnsealRequest{Key: wire.Secret(share)}); err != nil {
			return last, err
		}
	}
	return last, nil
}

func (s *server) mustUnseal(t testing.TB, shares ...string) {
	t.Helper()
	if st, err := s.give(t, shares...); err != nil || st.Sealed {
		t.Fatalf("unsealing with %d shares: sealed %v, %v", len(shares), st.Sealed, err)
	}
}

// unseals reports whether a new process over s unseals with these shares.
func unseals(t testing.TB, s store.Store, shares ...string) bool {
	t.Helper()
	srv := start(t, s)
	st, err := srv.give(t, shares...)
	if err != nil && !errors.Is(err, fault.Invalid) {
		t.Fatalf("unsealing: %v", err)
	}
	defer srv.Seal(t.Context())
	if ok := err == nil && !st.Sealed; !ok {
		return false
	}
	if err := srv.barrier.View(t.Context(), func(r store.Reader) error { _, err := r.Get(tokenRow); return err }); err != nil {
		t.Fatalf("unsealed, but: %v", err)
	}
	return true
}

// ready returns an unsealed server with its shares.
func ready(t testing.TB, shares, threshold int) (*server, store.Store, []string) {
	t.Helper()
	s := mem.New()
	srv := start(t, s)
	keys := srv.initialize(t, shares, threshold)
	srv.mustUnseal(t, keys[:threshold]...)
	return srv, s, keys
}

func mustBeKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind {
		t.Errorf("error %v (%v), want kind %v", err, fault.KindOf(err), kind)
	}
}

// combinations calls f with every choice of k of the items.
func combinations(items []string, k int, f func([]string)) {
	var choose func(from int, chosen []string)
	choose = func(from int, chosen []string) {
		if len(chosen) == k {
			f(chosen)
			return
		}
		for i := from; i < len(items); i++ {
			choose(i+1, append(chosen[:len(chosen):len(chosen)], items[i]))
		}
	}
	choose(0, nil)
}

// spoil returns another share of the same form.
func spoil(share string) string {
	raw, _ := base64.StdEncoding.DecodeString(share)
	raw[3] ^= 0x40
	return base64.StdEncoding.EncodeToString(raw)
}

func asHex(share string) string {
	raw, _ := base64.StdEncoding.DecodeString(share)
	return hex.EncodeToString(raw)
}

func forms(share string) []string {
	return []string{share, asHex(share), strings.ToUpper(asHex(share))}
}
