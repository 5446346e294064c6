package server_test

import (
	"encoding/json"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
)

// scale is how many leases the test makes: enough to notice a start that reads
// them all. COFFER_SCALE=1000000 is the size that is promised.
func scale(t *testing.T) int {
	text := os.Getenv("COFFER_SCALE")
	if text == "" {
		return 100_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestStartCostsTheSameWithManyLeases fills a server with tokens, each of them
// with a lease, and starts another on the same disk: unsealing must not read
// them, and the heap must not hold them.
func TestStartCostsTheSameWithManyLeases(t *testing.T) {
	few, fewHeap := startWith(t, 1000)
	n := scale(t)
	many, manyHeap := startWith(t, n)
	t.Logf("start: %v and %.1f MB with 1000 leases, %v and %.1f MB with %d", few, fewHeap, many, manyHeap, n)
	if many > few+250*time.Millisecond || many > time.Second {
		t.Errorf("unseal to first answer takes %v with %d leases, %v with 1000", many, n, few)
	}
	if manyHeap > fewHeap+100 {
		t.Errorf("%.1f MB of heap with %d leases, %.1f MB with 1000", manyHeap, n, fewHeap)
	}
}

// startWith makes n tokens and starts again.
func startWith(t *testing.T, n int) (took time.Duration, heap float64) {
	return startAfter(t, func(s *servertest.Server, _ string) { fill(t, s, n, clock.System{}.Now().Add(24*time.Hour)) }, func(t *testing.T, s *servertest.Server, root string) {
		s.MustAs(root, http.StatusOK, http.MethodGet, "auth/token/lookup-self", nil)
	})
}

// startAfter prepares a server, restarts it, and returns the time from unsealing
// to the first answer, which is that of probe, and the live heap after it, in
// megabytes.
func startAfter(t *testing.T, prepare func(s *servertest.Server, root string), probe func(t *testing.T, s *servertest.Server, root string)) (took time.Duration, heap float64) {
	dir := t.TempDir()
	open := func() *servertest.Server {
		return servertest.New(t, servertest.Options{Dir: dir, Uninitialised: true, NoAudit: true, Change: func(c *config.Config) { c.Storage.Raft.Path = dir }})
	}
	s := open()
	a := s.Do(http.MethodPost, "sys/init", "", map[string]int{"secret_shares": 1, "secret_threshold": 1})
	var keys struct {
		Keys  []string `json:"keys_base64"`
		Token string   `json:"root_token"`
	}
	if err := json.Unmarshal(a.Body, &keys); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	unseal := map[string]string{"key": keys.Keys[0]}
	s.Do(http.MethodPost, "sys/unseal", "", unseal)
	prepare(s, keys.Token)
	s.Stop()

	s = open()
	began := time.Now()
	s.Do(http.MethodPost, "sys/unseal", "", unseal)
	probe(t, s, keys.Token)
	took = time.Since(began)
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.Stop()
	return took, float64(m.HeapAlloc) / (1 << 20)
}

// fill makes n tokens that end at a time within a minute of end, many in a
// transaction: over the API it would take an hour.
func fill(t *testing.T, s *servertest.Server, n int, end time.Time) {
	t.Helper()
	const batch = 500
	g := s.Gate()
	for from := 0; from < n; from += batch {
		_, err := g.Store.Update(t.Context(), func(tx store.Txn) error {
			for i := from; i < min(from+batch, n); i++ {
				ttl := end.Add(time.Duration(i) * time.Minute / time.Duration(n)).Sub(clock.System{}.Now())
				_, _, err := g.Tokens.Insert(tx, token.Entry{
					NS: store.RootNamespace, Policies: []string{"default"}, Path: "auth/token/create", DisplayName: "token", TTL: ttl, Type: token.Service, Renewable: true,
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
