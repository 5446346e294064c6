package btree_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/store/btree"
)

// check compares m with a plain map in every way of reading.
func check(t *testing.T, m *btree.Map[int], want map[string]int, rng *rand.Rand) {
	t.Helper()
	keys := make([]string, 0, len(want))
	for k := range want {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	if m.Len() != len(want) {
		t.Fatalf("Len() = %d, want %d", m.Len(), len(want))
	}
	start, end := fmt.Sprintf("%04d", rng.IntN(3000)), fmt.Sprintf("%04d", rng.IntN(3000))
	for _, b := range [][2]string{{"", ""}, {start, end}, {start, ""}, {"", end}} {
		var inside []string
		for _, k := range keys {
			if k >= b[0] && (b[1] == "" || k < b[1]) {
				inside = append(inside, k)
			}
		}
		var got []string
		m.Ascend(b[0], b[1], func(k string, v int) bool {
			if want[k] != v {
				t.Fatalf("row %s = %d, want %d", k, v, want[k])
			}
			got = append(got, k)
			return true
		})
		if diff := cmp.Diff(inside, got); diff != "" {
			t.Fatalf("Ascend(%q, %q) (-want +got):\n%s", b[0], b[1], diff)
		}
		got = nil
		m.Descend(b[0], b[1], func(k string, v int) bool {
			got = append(got, k)
			return true
		})
		slices.Reverse(inside)
		if diff := cmp.Diff(inside, got); diff != "" {
			t.Fatalf("Descend(%q, %q) (-want +got):\n%s", b[0], b[1], diff)
		}
	}
}

func TestRandomOperationsMatchAMapAndSnapshotsStayAsTheyWere(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var m btree.Map[int]
		want := map[string]int{}
		type frozen struct {
			m    btree.Map[int]
			want map[string]int
		}
		var snaps []frozen
		for step := range 12000 {
			k := fmt.Sprintf("%04d", rng.IntN(3000))
			deleting := rng.IntN(10) < 4
			if step > 8000 {
				deleting = rng.IntN(10) < 8
			}
			if deleting {
				_, there := want[k]
				if m.Delete(k) != there {
					t.Fatalf("Delete(%s) = %t, want %t", k, !there, there)
				}
				delete(want, k)
			} else {
				m.Set(k, step)
				want[k] = step
			}
			if v, ok := m.Get(k); ok == deleting || v != want[k] {
				t.Fatalf("Get(%s) = %d, %t after the change", k, v, ok)
			}
			if step%1500 == 0 {
				copied := map[string]int{}
				for k, v := range want {
					copied[k] = v
				}
				snaps = append(snaps, frozen{m.Snapshot(), copied})
				check(t, &m, want, rng)
			}
		}
		check(t, &m, want, rng)
		for i := range snaps {
			check(t, &snaps[i].m, snaps[i].want, rng)
		}
		for k := range want {
			m.Delete(k)
		}
		check(t, &m, map[string]int{}, rng)
	}
}

func TestRowsInOrderAndInReverse(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, reverse := range []bool{false, true} {
		var m btree.Map[int]
		want := map[string]int{}
		for i := range 2900 {
			if reverse {
				i = 2899 - i
			}
			k := fmt.Sprintf("%04d", i)
			m.Set(k, i)
			want[k] = i
		}
		check(t, &m, want, rng)
		for i := range 2000 {
			k := fmt.Sprintf("%04d", i)
			m.Delete(k)
			delete(want, k)
		}
		check(t, &m, want, rng)
	}
}

func BenchmarkSet(b *testing.B) {
	var m btree.Map[int]
	rng := rand.New(rand.NewPCG(1, 1))
	for i := 0; b.Loop(); i++ {
		m.Set(fmt.Sprintf("%016x", rng.Uint64()), i)
	}
}
