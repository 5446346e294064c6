package token_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
)

func TestRevokingASmallTreeIsOneTransaction(t *testing.T) {
	w := newWorld(t)
	root := w.create(nil)
	child := w.create(root)
	grandchild := w.create(child)
	other := w.create(nil)
	w.db.left.Store(1)
	if err := w.Revoke(t.Context(), root.Handle); err != nil {
		t.Fatal(err)
	}
	w.db.left.Store(-1)
	w.wantAlive(false, root, child, grandchild)
	w.wantAlive(true, other)
	if err := w.Revoke(t.Context(), root.Handle); err != nil {
		t.Errorf("revoking again: %v", err)
	}
}

// family makes a token with many children, each with a lease, and a chain of
// descendants below the first.
func (w *world) family(children, chain int) (root *made, all []*made) {
	root = w.create(nil)
	all = append(all, root)
	for i := range children {
		c := w.create(root)
		if i%100 == 0 {
			w.grant(c)
		}
		all = append(all, c)
	}
	at := all[1]
	for range chain {
		at = w.create(at)
		all = append(all, at)
	}
	return root, all
}

func TestRevokingALargeTreeLeavesNothing(t *testing.T) {
	w := newWorld(t)
	root, all := w.family(2000, 300)
	for i := range 600 {
		w.update(func(tx store.Txn) error {
			return tx.Put(cubbyholeKey(root.Handle).Append(fmt.Sprintf("%03d", i)), []byte("v"))
		})
	}
	if err := w.Revoke(t.Context(), root.Handle); err != nil {
		t.Fatal(err)
	}
	w.wantAlive(false, all...)
	w.expireLeases()
	w.gone()
}

// expireLeases hands all leases that are due to the lease noun.
func (w *world) expireLeases() {
	w.t.Helper()
	for _, it := range w.dueItems() {
		if it.Class != expiry.Lease {
			continue
		}
		if err := w.leases.Expire(w.t.Context(), it); err != nil {
			w.t.Fatal(err)
		}
	}
}

// dueItems reads the whole expiry index.
func (w *world) dueItems() []expiry.Item {
	w.t.Helper()
	var items []expiry.Item
	err := w.db.View(w.t.Context(), func(r store.Reader) error {
		for e, err := range r.Scan(store.Under(store.NewKey(store.RootNamespace, store.System, store.KindDue))) {
			if err != nil {
				return err
			}
			parts, err := e.Key.Parts()
			if err != nil {
				return err
			}
			queue, _ := store.ParseUint64Part(parts[0])
			at, _ := store.ParseUint64Part(parts[1])
			items = append(items, expiry.Item{
				Queue: store.MountID(queue), Class: expiry.Class(parts[2][0]), ID: parts[2][1:], At: time.Unix(0, int64(at)).UTC(),
			})
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return items
}

// expireTokens does what the scheduler does until nothing more is due.
func (w *world) expireTokens() {
	w.t.Helper()
	for range 10_000 {
		worked := false
		for _, it := range w.dueItems() {
			if it.Class != expiry.Token || it.At.After(w.clock.Now()) {
				continue
			}
			worked = true
			if err := w.Expire(w.t.Context(), it); err != nil {
				w.t.Fatal(err)
			}
		}
		if !worked {
			return
		}
	}
	w.t.Error("tokens stay due whatever is done")
}

// TestAnInterruptedRevocationIsFinishedByTheIndex cuts the revocation of a
// large tree off after every so many transactions, as the end of the server
// would, and lets the expiry index go on.
func TestAnInterruptedRevocationIsFinishedByTheIndex(t *testing.T) {
	for _, after := range []int64{1, 2, 3, 50, 333, 700} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			w := newWorld(t)
			root, all := w.family(400, 300)
			w.db.left.Store(after)
			if err := w.Revoke(t.Context(), root.Handle); !errors.Is(err, fault.Unavailable) {
				t.Fatalf("interrupted revocation: %v, want unavailable", err)
			}
			w.db.left.Store(-1)
			if after > 1 { // the mark is the second transaction
				w.wantAlive(false, root)
				w.expireTokens()
				w.wantAlive(false, all...)
				w.expireLeases()
				w.gone()
			}
		})
	}
}

func TestOrphansOutliveTheirParent(t *testing.T) {
	for _, n := range []int{0, 1, 256, 600} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t)
			parent := w.create(nil)
			lease := w.grant(parent)
			var children []*made
			for range n {
				children = append(children, w.create(parent))
			}
			if err := w.RevokeOrphan(t.Context(), parent.Handle); err != nil {
				t.Fatal(err)
			}
			w.wantAlive(false, parent)
			w.wantAlive(true, children...)
			for _, c := range children {
				e, err := w.Authenticate(t.Context(), c.text)
				if err != nil || len(e.Parent) > 0 {
					t.Fatalf("child has still a parent (error %v)", err)
				}
			}
			if lease == nil {
				t.Fatal("no lease was granted")
			}
			for _, c := range children {
				if err := w.Revoke(t.Context(), c.Handle); err != nil {
					t.Fatal(err)
				}
			}
			w.expireLeases()
			w.gone()
		})
	}
}

func TestARevokedParentCannotHaveChildrenOrLeases(t *testing.T) {
	w := newWorld(t)
	parent := w.create(nil)
	if err := w.Revoke(t.Context(), parent.Handle); err != nil {
		t.Fatal(err)
	}
	_, _, err := w.Create(t.Context(), token.Entry{Parent: []byte(parent.Handle), TTL: time.Hour, Type: token.Service}, "", nil)
	if !errors.Is(err, fault.Denied) {
		t.Errorf("child of a revoked token: %v, want denied", err)
	}
	if err := w.db.View(t.Context(), func(r store.Reader) error { return w.Alive(r, parent.Handle) }); !errors.Is(err, fault.Denied) {
		t.Errorf("lease of a revoked token: %v, want denied", err)
	}
	w.gone()
}

func TestTokensEndByTheIndex(t *testing.T) {
	w := newWorld(t)
	short := w.create(nil)
	child := w.create(short, func(e *token.Entry) { e.TTL = 5 * time.Hour })
	long := w.create(nil, func(e *token.Entry) { e.TTL = 2 * time.Hour })
	renewed := w.create(nil)
	items := []expiry.Item{due(short), due(renewed), {Class: expiry.Token, ID: "no such token", At: short.Expires}}
	w.clock.Advance(time.Hour - time.Second)
	w.wantAlive(true, short, child, long)
	after, err := w.Renew(t.Context(), w.call(renewed), renewed.Entry, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Second)
	w.wantAlive(false, short)
	if err := w.ExpireBatch(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	w.wantAlive(false, short, child)
	w.wantAlive(true, long, renewed)
	var left []string
	for _, it := range w.dueItems() {
		left = append(left, it.ID)
	}
	if len(left) != 2 {
		t.Errorf("%d items are left in the index, want those of the renewed and the longer token", len(left))
	}
	renewed.Entry = after
	w.clock.Advance(day)
	w.expireTokens()
	w.gone()
}

func TestABatchOfExpiriesThatIsTooBigIsRefusedWhole(t *testing.T) {
	w := newWorld(t)
	root, _ := w.family(700, 0)
	w.clock.Advance(time.Hour)
	before := len(w.rows())
	if err := w.ExpireBatch(t.Context(), []expiry.Item{due(root)}); err == nil {
		t.Error("a tree of 700 tokens ended in one transaction")
	}
	if after := len(w.rows()); after != before {
		t.Errorf("%d rows became %d by a refused batch", before, after)
	}
	w.expireTokens()
	w.expireLeases()
	w.gone()
}

func TestAnInterruptedOrphaningSparesTheChildren(t *testing.T) {
	w := newWorld(t)
	parent := w.create(nil)
	child := w.create(parent)
	w.db.left.Store(1) // the mark is stored, the rest is not
	if err := w.RevokeOrphan(t.Context(), parent.Handle); !errors.Is(err, fault.Unavailable) {
		t.Fatalf("interrupted: %v, want unavailable", err)
	}
	w.db.left.Store(-1)
	w.wantAlive(false, parent)
	w.expireTokens()
	w.wantAlive(false, parent)
	w.wantAlive(true, child)
}
