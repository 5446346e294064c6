package faults_test

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
)

// TestExpiryStorm lets very many tokens end in the same second. Requests are
// served meanwhile without delay, and the tokens are gone soon after: within
// twenty seconds and one more for every five hundred tokens, on a machine that
// may have other things to do.
func TestExpiryStorm(t *testing.T) {
	count := amount(t, "COFFER_FAULTS_STORM", 20000)
	n := newNode(t, place{})
	n.showLog()
	n.call(http.MethodPost, "sys/mounts/kv", n.Root, object{"type": "kv"}).must(t, 204)
	n.call(http.MethodPost, "kv/a", n.Root, object{"b": "c"}).must(t, 204)
	end, before := storm(t, n, count)

	// They end in the second before the end.
	<-clock.System{}.After(end.Add(-1500 * time.Millisecond).Sub(clock.System{}.Now()))
	bound := 20*time.Second + time.Duration(count)*time.Second/500
	ctx, cancel := context.WithCancel(background())
	defer cancel()
	all := &latencies{}
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				all.add(n.call(http.MethodGet, "kv/a", n.Root, nil))
				all.add(n.call(http.MethodPost, "kv/a", n.Root, object{"b": "d"}))
			}
		})
	}
	eventually(t, bound, "all tokens are gone", func() bool { return tokens(t, n) == before })
	took := clock.System{}.Now().Sub(end)
	cancel()
	clients.Wait()
	t.Logf("%d tokens were gone %v after their end; meanwhile: %s", count, took, all)
	if p99 := all.quantile(0.99); p99 > 250*time.Millisecond {
		t.Errorf("one request of a hundred took more than %v", p99)
	}
	n.kill()
	n.readRows().audit(t)
}

// storm makes tokens that all end within one second, and returns its end and how
// many others there are.
func storm(t *testing.T, n *node, count int) (end time.Time, before int) {
	t.Helper()
	began := clock.System{}.Now()
	sample := min(count, 500)
	makeTokens(t, n, sample, began.Add(time.Hour))
	pace := clock.System{}.Now().Sub(began) / time.Duration(sample)
	now := clock.System{}.Now()
	end = now.Add(5*time.Second + 3*time.Duration(count)*pace/2).Truncate(time.Second)
	before = tokens(t, n)
	makeTokens(t, n, count, end)
	now = clock.System{}.Now()
	if now.After(end.Add(-2 * time.Second)) {
		t.Fatalf("making the tokens took %v too long", now.Sub(end))
	}
	t.Logf("made in %v, %v before the end", now.Sub(began), end.Sub(now))
	return end, before
}

// makeTokens makes tokens that end at a time, to the second.
func makeTokens(t *testing.T, n *node, count int, end time.Time) {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(count))
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for left.Add(-1) >= 0 {
				ttl := int(end.Sub(clock.System{}.Now()) / time.Second)
				a := n.call(http.MethodPost, "auth/token/create-orphan", n.Root, object{"ttl": strconv.Itoa(max(ttl, 1)) + "s"})
				if !a.acknowledged() {
					t.Error(a.error())
					return
				}
			}
		})
	}
	clients.Wait()
}

// tokens counts the tokens that there are.
func tokens(t *testing.T, n *node) int {
	t.Helper()
	list, err := data[struct{ Keys []string }](n.call("LIST", "auth/token/accessors", n.Root, nil).must(t, 200))
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Keys)
}
