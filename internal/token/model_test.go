package token_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/token"
)

// model is the tree of tokens as it should be.
type model struct {
	alive    map[*made]bool
	children map[*made][]*made
}

func (m *model) end(t *made, alone bool) {
	delete(m.alive, t)
	for _, c := range m.children[t] {
		if alone {
			c.Parent = nil
		} else if m.alive[c] && c.Parent != nil {
			m.end(c, false)
		}
	}
	delete(m.children, t)
}

// rows are all rows that the tokens of the model must have.
func (m *model) rows(empty []string) []string {
	rows := slices.Clone(empty)
	for t := range m.alive {
		rows = append(rows, rowsOf(t)...)
	}
	slices.Sort(rows)
	return rows
}

// TestTheTreeOfTokensFollowsItsModel does random things to a tree of tokens and
// compares every row with what a model says must be there.
func TestTheTreeOfTokensFollowsItsModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newWorld(t)
			random := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // a test's choices
			m := &model{alive: map[*made]bool{}, children: map[*made][]*made{}}
			var all []*made
			for step := range 300 {
				var living []*made
				for _, tk := range all {
					if m.alive[tk] {
						living = append(living, tk)
					}
				}
				pick := func() *made { return living[random.IntN(len(living))] }
				switch n := random.IntN(10); {
				case n < 5 || len(living) == 0:
					var parent *made
					if len(living) > 0 && random.IntN(4) > 0 {
						parent = pick()
					}
					tk := w.create(parent, func(e *token.Entry) { e.TTL = time.Duration(1+random.IntN(90)) * time.Minute })
					m.alive[tk] = true
					if parent != nil {
						m.children[parent] = append(m.children[parent], tk)
					}
					all = append(all, tk)
				case n == 5:
					tk := pick()
					if err := w.Revoke(t.Context(), tk.Handle); err != nil {
						t.Fatal(err)
					}
					m.end(tk, false)
				case n == 6:
					tk := pick()
					if err := w.RevokeOrphan(t.Context(), tk.Handle); err != nil {
						t.Fatal(err)
					}
					m.end(tk, true)
				case n == 7:
					tk := pick()
					after, err := w.Renew(t.Context(), w.call(tk), tk.Entry, time.Duration(1+random.IntN(90))*time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					tk.Expires = after.Expires
				default:
					w.clock.Advance(time.Duration(random.IntN(10)) * time.Minute)
					w.expireTokens()
					for _, tk := range all {
						if m.alive[tk] && !tk.Expires.After(w.clock.Now()) {
							m.end(tk, false)
						}
					}
				}
				if diff := cmp.Diff(m.rows(w.empty), slices.Sorted(slices.Values(w.rows()))); diff != "" {
					t.Fatalf("rows after step %d (-want +got):\n%s", step, diff)
				}
			}
			for _, tk := range all {
				if w.alive(tk) != m.alive[tk] {
					t.Errorf("a token can be used: %v, the model says %v", !m.alive[tk], m.alive[tk])
				}
			}
		})
	}
}
