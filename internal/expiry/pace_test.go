package expiry_test

import (
	"context"
	"log/slog"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
)

// slow ends batches, each of which takes a while.
type slow struct {
	store store.Store
	takes time.Duration
}

func (s slow) Expire(ctx context.Context, it expiry.Item) error {
	return s.ExpireBatch(ctx, []expiry.Item{it})
}

func (s slow) ExpireBatch(ctx context.Context, items []expiry.Item) error {
	<-time.After(s.takes)
	_, err := s.store.Update(ctx, func(tx store.Txn) error {
		for _, it := range items {
			if err := expiry.Remove(tx, it); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// ended runs a scheduler over 4000 items in two queues for ten seconds and
// returns how many it has ended.
func ended(t *testing.T, takes time.Duration, c expiry.Config) (n int64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		db := mem.New()
		defer db.Close()
		_, err := db.Update(t.Context(), func(tx store.Txn) error {
			for i := range 4000 {
				it := expiry.Item{Queue: store.MountID(i % 2), Class: expiry.Lease, ID: strconv.Itoa(i), At: clock.System{}.Now()}
				if err := expiry.Put(tx, it); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Store, c.Clock, c.Log = db, clock.System{}, slog.New(slog.DiscardHandler)
		c.Handlers = map[expiry.Class]expiry.Handler{expiry.Lease: slow{db, takes}}
		s := expiry.New(c)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_ = s.Run(ctx) // it ends with its context
		n, _ = s.Counts()
	})
	return n
}

func TestRateBoundsEndsOverAllQueues(t *testing.T) {
	// A batch of each queue is out before the first rest.
	if n := ended(t, 0, expiry.Config{Rate: 100}); n < 900 || n > 1300 {
		t.Errorf("%d ends in ten seconds at a rate of 100 a second", n)
	}
	if n := ended(t, 0, expiry.Config{}); n != 4000 {
		t.Errorf("%d of 4000 ends without a rate", n)
	}
}

func TestRequestsHavePriorityOverEnds(t *testing.T) {
	const takes = 900 * time.Millisecond
	idle := ended(t, takes, expiry.Config{Busy: func() bool { return false }})
	busy := ended(t, takes, expiry.Config{Busy: func() bool { return true }})
	if idle != 22*128 {
		t.Errorf("%d ends in ten seconds without requests, want a batch of each queue every 0.9 s", idle)
	}
	if busy >= idle || busy < 18*128 {
		t.Errorf("%d ends beside requests, %d without: want fewer, but not many", busy, idle)
	}
}
