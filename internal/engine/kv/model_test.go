package kv_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// modelVersion and model are the plainest possible description of a version 2
// secret.
type modelVersion struct {
	value              int
	deleted, destroyed bool
}

type model struct {
	versions map[int]*modelVersion
	current  int
	keep     int
}

func (s *model) write(value int) {
	s.current++
	s.versions[s.current] = &modelVersion{value: value}
	delete(s.versions, s.current-s.keep)
}

// TestSecretsBehaveLikeTheModel runs random requests against the engine and the
// model side by side.
func TestSecretsBehaveLikeTheModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			m := newV2(t)
			m.Write("config", fmt.Sprintf(`{"max_versions":%d}`, 3+seed))
			secrets := map[string]*model{}
			for range 400 {
				path := []string{"a", "a/b", "b"}[random.IntN(3)]
				s := secrets[path]
				if s == nil {
					s = &model{versions: map[int]*modelVersion{}, keep: 3 + int(seed)}
					secrets[path] = s
				}
				step(t, m, random, path, s)
				compare(t, m, path, s)
			}
		})
	}
}

// step makes one random request of both.
func step(t *testing.T, m *enginetest.Mount, random *rand.Rand, path string, s *model) {
	t.Helper()
	value, n := random.IntN(1000), random.IntN(s.current+2)
	v := s.versions[n]
	switch random.IntN(8) {
	case 0, 1:
		m.Write("data/"+path, fmt.Sprintf(`{"data":{"n":%d}}`, value))
		s.write(value)
	case 2:
		r := m.Call(route.VerbWrite, "data/"+path, fmt.Sprintf(`{"data":{"n":%d},"options":{"cas":%d}}`, value, n))
		if (r.Err == nil) != (n == s.current) {
			t.Fatalf("cas %d at version %d gave error %v", n, s.current, r.Err)
		}
		if r.Err == nil {
			s.write(value)
		}
	case 3:
		r := m.Patch("data/"+path, fmt.Sprintf(`{"data":{"n":%d}}`, value))
		if r.Raw == nil && !r.Missing {
			s.write(value)
		} else if last := s.versions[s.current]; last != nil && !last.deleted && !last.destroyed {
			t.Fatal("a living version was not patched")
		}
	case 4:
		m.Write("delete/"+path, fmt.Sprintf(`{"versions":[%d]}`, n))
		if v != nil && !v.destroyed {
			v.deleted = true
		}
	case 5:
		m.Write("undelete/"+path, fmt.Sprintf(`{"versions":[%d]}`, n))
		if v != nil && !v.destroyed {
			v.deleted = false
		}
	case 6:
		m.Write("destroy/"+path, fmt.Sprintf(`{"versions":[%d]}`, n))
		if v != nil {
			v.destroyed = true
		}
	case 7:
		if random.IntN(10) == 0 {
			m.Delete("metadata/" + path)
			*s = model{versions: map[int]*modelVersion{}, keep: s.keep}
		}
	}
	m.Clock.Advance(time.Second)
}

// compare reads every version of a secret.
func compare(t *testing.T, m *enginetest.Mount, path string, s *model) {
	t.Helper()
	for n := 1; n <= s.current+1; n++ {
		r := m.Call(route.VerbRead, fmt.Sprintf("data/%s?version=%d", path, n), nil)
		v := s.versions[n]
		switch {
		case v == nil:
			if !errors.Is(r.Err, fault.NotFound) {
				t.Fatalf("%s version %d: got error %v, want none such", path, n, r.Err)
			}
		case r.Err != nil:
			t.Fatalf("%s version %d: %v", path, n, r.Err)
		case v.deleted || v.destroyed:
			if !r.Missing || r.Map(t)["data"] != nil || r.Map(t)["metadata"].(map[string]any)["destroyed"] != v.destroyed {
				t.Fatalf("%s version %d: got %s, want it deleted", path, n, r.Data)
			}
		case r.Missing || r.Map(t)["data"].(map[string]any)["n"] != float64(v.value):
			t.Fatalf("%s version %d: got %s, want %d", path, n, r.Data, v.value)
		}
	}
}

func TestOnlyOneOfManyWritersWinsACheckAndSet(t *testing.T) {
	m := newV2(t)
	const writers, rounds = 8, 20
	for round := range rounds {
		var wg sync.WaitGroup
		results := make([]error, writers)
		for w := range writers {
			wg.Go(func() {
				results[w] = m.Call(route.VerbWrite, "data/s", fmt.Sprintf(`{"data":{"w":%d},"options":{"cas":%d}}`, w, round)).Err
			})
		}
		wg.Wait()
		won := 0
		for _, err := range results {
			if err == nil {
				won++
			} else if fault.KindOf(err) != fault.Invalid {
				t.Fatal(err)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d writers won", round, won)
		}
	}
}
