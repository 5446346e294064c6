package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
)

// shifted is the machine's clock, set forward once.
type shifted struct {
	clock.System
	by   atomic.Int64
	done chan struct{} // closed when it was
}

// Now returns the machine's time and the shift.
func (s *shifted) Now() time.Time { return s.System.Now().Add(time.Duration(s.by.Load())) }

// After waits on the machine's clock, or for the shift.
func (s *shifted) After(d time.Duration) <-chan time.Time {
	if s.by.Load() != 0 {
		return s.System.After(d)
	}
	due := make(chan time.Time, 1)
	go func() {
		select {
		case <-s.System.After(d):
		case <-s.done:
		}
		due <- s.Now()
	}()
	return due
}

func (s *shifted) shift(by time.Duration) {
	s.by.Store(int64(by))
	close(s.done)
}

// storm is how many tokens end at once. COFFER_STORM=1000000 is the size that is
// promised.
func storm(t *testing.T) int {
	text := os.Getenv("COFFER_STORM")
	if text == "" {
		return 20_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestManyLeasesEndingAtOnceDelayNobody lets very many tokens end within one
// minute, which is over already: the worst case. Requests are served meanwhile
// as ever, and the tokens are gone within the time that the rate of revocation
// promises.
func TestManyLeasesEndingAtOnceDelayNobody(t *testing.T) {
	n := storm(t)
	c := &shifted{done: make(chan struct{})}
	dir := t.TempDir()
	s := servertest.New(t, servertest.Options{Clock: c, Dir: dir, Uninitialised: true, Change: func(c *config.Config) { c.Storage.Raft.Path = dir }})
	root := initialise(t, s)
	s.MustAs(root, http.StatusNoContent, http.MethodPost, "sys/mounts/kv", map[string]string{"type": "kv"})
	s.MustAs(root, http.StatusNoContent, http.MethodPost, "kv/a", map[string]string{"b": "c"})
	fill(t, s, n, c.Now().Add(time.Hour))
	quiet := loadFor(t, s, root, func() bool { return false }, time.Second)

	c.shift(time.Hour + time.Minute)
	began := c.Now()
	busy := loadFor(t, s, root, func() bool { return !due(t, s, c.Now()) }, time.Duration(n/revocationRate(t)+20)*time.Second)
	took := c.Now().Sub(began)
	if due(t, s, c.Now()) {
		t.Errorf("not all of %d tokens are gone %v after their end", n, took)
	}
	t.Logf("%d tokens were gone after %v, %.0f a second; answers before: %v, meanwhile: %v", n, took, float64(n)/took.Seconds(), quiet, busy)
	if p99 := busy.quantile(0.99); p99 > 250*time.Millisecond {
		t.Errorf("one request of a hundred took more than %v", p99)
	}
	if left := rows(t, s, store.KindToken); left > 2 {
		t.Errorf("%d records of tokens are left", left)
	}
}

// revocationRate is how many ends a second are wanted beside the load, on a
// machine that may have other things to do.
func revocationRate(*testing.T) int { return 500 }

// initialise brings a new server up and returns its root token.
func initialise(t *testing.T, s *servertest.Server) (root string) {
	t.Helper()
	var keys struct {
		Keys  []string `json:"keys_base64"`
		Token string   `json:"root_token"`
	}
	a := s.Do(http.MethodPost, "sys/init", "", map[string]int{"secret_shares": 1, "secret_threshold": 1})
	if err := json.Unmarshal(a.Body, &keys); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	s.Do(http.MethodPost, "sys/unseal", "", map[string]string{"key": keys.Keys[0]})
	return keys.Token
}

// due reports whether anything has ended that is still there.
func due(t *testing.T, s *servertest.Server, now time.Time) (late bool) {
	t.Helper()
	r := store.Under(store.NewKey(store.RootNamespace, store.System, store.KindDue))
	r.Limit = 1
	err := s.Gate().Store.View(context.Background(), func(tx store.Reader) error {
		for row, err := range tx.Scan(r) {
			if err != nil {
				return err
			}
			parts, err := row.Key.Parts()
			if err != nil {
				return err
			}
			at, _ := store.ParseUint64Part(parts[1])
			late = int64(at) <= now.UnixNano()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return late
}

// rows counts the rows of a kind.
func rows(t *testing.T, s *servertest.Server, kind store.Kind) (n int) {
	t.Helper()
	err := s.Gate().Store.View(context.Background(), func(tx store.Reader) error {
		for _, err := range tx.Scan(store.Under(store.NewKey(store.RootNamespace, store.System, kind))) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// times are how long answers took, in ascending order.
type times []time.Duration

func (t times) quantile(q float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	return t[min(int(q*float64(len(t))), len(t)-1)]
}

// String shows the usual quantiles.
func (t times) String() string {
	return fmt.Sprintf("%d, p50 %v, p99 %v, max %v", len(t), t.quantile(0.5), t.quantile(0.99), t.quantile(1))
}

// loadFor has some clients read and write until done, at most for a time.
func loadFor(t *testing.T, s *servertest.Server, token string, done func() bool, most time.Duration) times {
	t.Helper()
	const clients = 4
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	took := make([]times, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				for _, method := range []string{http.MethodGet, http.MethodPost} {
					began := clock.System{}.Now()
					if a := s.Do(method, "kv/a", token, map[string]string{"b": "d"}); a.Status/100 != 2 {
						t.Errorf("%s: %s", method, a)
						return
					}
					took[i] = append(took[i], clock.System{}.Now().Sub(began))
				}
			}
		})
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil && !done() {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	cancel()
	wg.Wait()
	all := times(slices.Concat(took...))
	slices.Sort(all)
	return all
}
