package lease_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

func TestAPrefixIsWholeSegments(t *testing.T) {
	tests := []struct {
		prefix string
		want   []string
	}{
		{"database/creds/a", []string{"a"}},
		{"database/creds/a/", []string{"a"}},
		{"/database/creds/", []string{"a", "ab"}},
		{"database/creds/ab", []string{"ab"}},
		{"database/cred", nil},
		{"d", nil},
		{"other", []string{"other"}},
		{"", []string{"a", "ab", "other"}},
	}
	for _, tt := range tests {
		t.Run(tt.prefix, func(t *testing.T) {
			w := newWorld(t)
			w.grant("database/creds/a", "t", route.Lease{Payload: []byte("a")})
			w.grant("database/creds/ab", "t", route.Lease{Payload: []byte("ab")})
			w.grant("other/x", "t", route.Lease{Payload: []byte("other")})
			if err := w.RevokePrefix(t.Context(), store.RootNamespace, tt.prefix, false); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, w.engine.taken()); diff != "" {
				t.Errorf("undone (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPrefixRevokesItsTokensToo(t *testing.T) {
	w := newWorld(t)
	w.update(func(tx store.Txn) error {
		for _, path := range []string{"auth/a/login", "auth/b/login"} {
			if err := lease.PutToken(tx, store.RootNamespace, path, "handle of "+path); err != nil {
				return err
			}
		}
		return nil
	})
	if err := w.RevokePrefix(t.Context(), store.RootNamespace, "auth/a/", false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"handle of auth/a/login"}, w.tokens.revoked); diff != "" {
		t.Errorf("tokens revoked:\n%s", diff)
	}
	if n := w.count(); n != 1 {
		t.Errorf("%d are left, want the token of the other path", n)
	}
}

// TestRevokingAPrefixMarksEveryLeaseHoweverManyFail has more leases than one
// call tries to undo while the database is down.
func TestRevokingAPrefixMarksEveryLeaseHoweverManyFail(t *testing.T) {
	w := newWorld(t)
	const n = 700
	for i := range n {
		w.grant("database/creds/r", "t", route.Lease{Payload: fmt.Append(nil, i)})
	}
	w.engine.refuse = down
	reply, _, err := w.ask(route.VerbWrite, "leases/revoke-prefix/database", `{}`)
	if err != nil {
		t.Fatalf("revoking without waiting for the outcome: %v", err)
	}
	if reply != nil && reply.Data != nil {
		t.Errorf("answer %s", reply.Data)
	}
	if due := len(w.due()); due != n {
		t.Errorf("%d leases are marked, want %d", due, n)
	}
	if _, _, err := w.ask(route.VerbWrite, "leases/revoke-prefix/database", `{"sync": true}`); !errors.Is(err, fault.Upstream) {
		t.Errorf("revoking and waiting for the outcome: %v, want upstream", err)
	}
	w.engine.refuse = nil
	if failed := w.expire(); failed != 0 {
		t.Errorf("%d attempts failed once the database is back", failed)
	}
	if rows := w.rows(); rows != 0 {
		t.Errorf("%d rows are left", rows)
	}
	if got := len(w.engine.taken()); got != n {
		t.Errorf("%d grants were undone, want %d", got, n)
	}
}

func TestRevokingAPrefixGoesOnAfterAFailure(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		w.grant("database/creds/r", "t", route.Lease{Payload: fmt.Append(nil, i)})
	}
	w.engine.refuse = func(p string) error {
		if p == "3" {
			return errDown
		}
		return nil
	}
	if err := w.RevokePrefix(t.Context(), store.RootNamespace, "database", false); !errors.Is(err, fault.Upstream) {
		t.Errorf("error %v, want upstream", err)
	}
	if n := w.count(); n != 1 {
		t.Errorf("%d leases are left, want the one that failed", n)
	}
}

func TestForceForgetsWhatCannotBeUndone(t *testing.T) {
	w := newWorld(t)
	const n = 300
	for i := range n {
		w.grant("database/creds/r", "t", route.Lease{Payload: fmt.Append(nil, i)})
	}
	w.engine.refuse = down
	if _, _, err := w.ask(route.VerbWrite, "leases/revoke-force/database", `{}`); err != nil {
		t.Fatal(err)
	}
	if rows := w.rows(); rows != 0 {
		t.Errorf("%d rows are left", rows)
	}
}

// broken is a store that takes no writes.
type broken struct{ store.Store }

func (broken) Update(context.Context, func(store.Txn) error) (store.Index, error) {
	return 0, fault.New(fault.Unavailable, "the disk is gone")
}

// TestARevocationThatWasNotStoredIsNoSuccess tells a lease that is queued from
// one that is not even marked.
func TestARevocationThatWasNotStoredIsNoSuccess(t *testing.T) {
	w := newWorld(t)
	e := w.grant("database/creds/r", "t", route.Lease{})
	w.db = broken{w.db}
	w.Store = lease.New(w.config())
	for path, body := range map[string]string{
		"leases/revoke":                 `{"lease_id": "` + e.ID + `"}`,
		"leases/revoke-prefix/database": `{}`,
		"leases/revoke-force/database":  `{}`,
	} {
		if _, _, err := w.ask(route.VerbWrite, path, body); !errors.Is(err, fault.Unavailable) {
			t.Errorf("%s: error %v, want unavailable", path, err)
		}
	}
}

// scheduled runs the scheduler while fn does and until it has come to rest.
func (w *world) scheduled(fn func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	s := expiry.New(expiry.Config{Store: w.db, Clock: w.clock, Log: slog.New(slog.DiscardHandler), Handlers: map[expiry.Class]expiry.Handler{expiry.Lease: w.Store}})
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	synctest.Wait()
	fn()
	synctest.Wait()
	cancel()
	<-ended
}

func TestStuckLeasesAreListedUntilTheyAreGone(t *testing.T) {
	synctest.Test(t, stuckLeases)
}

func stuckLeases(t *testing.T) {
	w := newWorld(t)
	type listing struct {
		Count  int `json:"lease_count"`
		Leases []struct {
			ID       string `json:"lease_id"`
			Error    string `json:"error"`
			Attempts int    `json:"attempts"`
			MountID  string `json:"mount_id"`
		} `json:"leases"`
	}
	list := func() listing {
		r, _, err := w.ask(route.VerbRead, "leases?type=irrevocable", "")
		return data[listing](t, r, err)
	}
	e := w.grant("database/creds/r", "t", route.Lease{})
	if got := list(); got.Count != 0 {
		t.Fatalf("%d stuck leases at first", got.Count)
	}
	w.engine.refuse = down
	w.clock.Advance(time.Hour)
	w.scheduled(func() { w.clock.Advance(10 * time.Second) })
	got := list()
	if got.Count != 1 || got.Leases[0].ID != e.ID || got.Leases[0].Error != "the database is down" || got.Leases[0].Attempts < 1 || got.Leases[0].MountID != "the mount" {
		t.Fatalf("listing %+v", got)
	}
	if err := w.Revoke(t.Context(), store.RootNamespace, e.ID, true); err != nil {
		t.Fatal(err)
	}
	if got := list(); got.Count != 0 {
		t.Errorf("a lease that was removed by force is listed as stuck: %+v", got)
	}
	if n := w.rows(); n != 0 {
		t.Errorf("%d rows are left of a lease that was removed by force", n)
	}
}

func TestListingShowsLeasesAndFoldersOfOneLevel(t *testing.T) {
	w := newWorld(t)
	e := w.grant("database/creds/a", "t", route.Lease{})
	w.grant("database/creds/a/deep", "t", route.Lease{})
	w.grant("database/creds/b", "t", route.Lease{})
	w.update(func(tx store.Txn) error { return lease.PutToken(tx, store.RootNamespace, "auth/x/login", "h") })
	tests := []struct {
		path string
		want []string
	}{
		{"leases/lookup/database", []string{"creds/"}},
		{"leases/lookup/database/creds/", []string{"a/", "b/"}},
		{"leases/lookup/database/creds/a", []string{e.ID[strings.LastIndexByte(e.ID, '/')+1:], "deep/"}},
		{"leases/lookup/auth/x/login", []string{"h68"}},
	}
	for _, tt := range tests {
		r, _, err := w.ask(route.VerbList, tt.path, "")
		got := data[struct{ Keys []string }](t, r, err)
		if diff := cmp.Diff(tt.want, got.Keys); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.path, diff)
		}
	}
}
