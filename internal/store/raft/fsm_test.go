package raft_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	hraft "github.com/hashicorp/raft"

	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/raft"
)

func machine(t testing.TB) *raft.Machine {
	t.Helper()
	m, err := raft.NewMachine(vfs.NewMem(), "/state")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func rows(t testing.TB, m *raft.Machine) map[string]string {
	t.Helper()
	r, err := m.Rows()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// history makes the transactions that honest nodes would have proposed: each
// has read a state of the past as it was.
type history struct {
	rng    *rand.Rand
	states []past
}

// past is a state as it could be read: rows with their versions.
type past struct {
	index store.Index
	rows  map[store.Key]store.Index
}

func (h *history) transaction() raft.Transaction {
	var t raft.Transaction
	then := h.states[len(h.states)-1-h.rng.IntN(min(len(h.states), 5))]
	state := then.rows
	t.At(then.index)
	for range h.rng.IntN(3) {
		k := row(h.rng.IntN(30))
		t.Read(k, state[k])
	}
	for range h.rng.IntN(2) {
		start, end := row(h.rng.IntN(30)), row(h.rng.IntN(32))
		n := uint64(0)
		for k := range state {
			if k >= start && k < end {
				n++
			}
		}
		t.Scan(start, end, n)
	}
	keys := map[int]bool{}
	for range 1 + h.rng.IntN(3) {
		keys[h.rng.IntN(30)] = true
	}
	sorted := []int{}
	for k := range keys {
		sorted = append(sorted, k)
	}
	sort.Ints(sorted)
	for _, k := range sorted {
		if h.rng.IntN(3) == 0 {
			t.Write(row(k), nil)
		} else {
			t.Write(row(k), fmt.Append(nil, h.rng.Uint32()))
		}
	}
	return t
}

// learn adds the state that the machine has come to.
func (h *history) learn(t *testing.T, m *raft.Machine) {
	now := past{m.Commit(), map[store.Key]store.Index{}}
	for k, v := range rows(t, m) {
		if k[0] == 0x01 {
			now.rows[store.Key(k[1:])] = store.Index(binary.BigEndian.Uint64([]byte(v)))
		}
	}
	h.states = append(h.states, now)
}

// TestEveryNodeDecidesAlike feeds the same entries to machines that group
// them differently and restart at different times.
func TestEveryNodeDecidesAlike(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 7))
		first, second, third := machine(t), machine(t), machine(t)
		h := &history{rng: rng, states: []past{{}}}
		var waiting []*hraft.Log
		committed, lost := 0, 0
		for index := uint64(1); index <= 250; index++ {
			txns := []raft.Transaction{}
			for range 1 + rng.IntN(4) {
				txns = append(txns, h.transaction())
			}
			log := &hraft.Log{Index: index, Term: 1, Type: hraft.LogCommand, Data: raft.Entry(txns...)}
			if rng.IntN(20) == 0 {
				log.Data = log.Data[:len(log.Data)-1] // malformed
			}
			answer := first.Apply(log)
			if n := raft.Committed(answer); n >= 0 {
				committed += n
				lost += len(txns) - n
			}
			h.learn(t, first)

			second.Forget()
			if diff := cmp.Diff(raft.Committed(answer), raft.Committed(second.Apply(log))); diff != "" {
				t.Fatalf("seed %d: entry %d: a machine without memory decides otherwise:\n%s", seed, index, diff)
			}
			if waiting = append(waiting, log); rng.IntN(4) == 0 || index == 250 {
				third.ApplyBatch(waiting)
				waiting = nil
				if rng.IntN(3) == 0 {
					third.Forget()
				}
			}
		}
		want := rows(t, first)
		for name, m := range map[string]*raft.Machine{"without memory": second, "in batches": third} {
			if diff := cmp.Diff(want, rows(t, m)); diff != "" {
				t.Errorf("seed %d: the machine %s has another state:\n%s", seed, name, diff)
			}
		}
		if committed < 100 || lost < 100 {
			t.Errorf("seed %d: %d transactions committed and %d lost: the test tests too little", seed, committed, lost)
		}
	}
}

func TestAppliedEntriesAreSkipped(t *testing.T) {
	m := machine(t)
	var txn raft.Transaction
	txn.Write(row(1), []byte("x"))
	log := &hraft.Log{Index: 5, Term: 1, Type: hraft.LogCommand, Data: raft.Entry(txn)}
	m.Apply(log)
	before := rows(t, m)
	m.Apply(log)
	m.Apply(&hraft.Log{Index: 4, Term: 1, Type: hraft.LogCommand, Data: log.Data})
	if diff := cmp.Diff(before, rows(t, m)); diff != "" {
		t.Errorf("an entry was applied twice:\n%s", diff)
	}
}

// FuzzEntry feeds anything to the state machine. It must not panic, and what
// it takes must have one encoding.
func FuzzEntry(f *testing.F) {
	var txn, other raft.Transaction
	txn.At(3)
	txn.Read(row(1), 2)
	txn.Scan(row(0), row(9), 4)
	txn.Scan(row(9), "", 0)
	txn.Write(row(1), []byte("value"))
	txn.Write(row(2), nil)
	other.Write(row(3), []byte{})
	f.Add(raft.Entry())
	f.Add(raft.Entry(txn))
	f.Add(raft.Entry(txn, other, txn))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	m := machine(f)
	index := uint64(0)
	f.Fuzz(func(t *testing.T, data []byte) {
		again, err := raft.Reencode(data)
		if err == nil {
			if third, err := raft.Reencode(again); err != nil || string(third) != string(again) {
				t.Errorf("an entry changes when it is encoded again: %v", err)
			}
		}
		index++
		answer := m.Apply(&hraft.Log{Index: index, Term: 1, Type: hraft.LogCommand, Data: data})
		if refused := raft.Committed(answer) < 0; refused != (err != nil) {
			t.Errorf("the machine refuses (%t) what decodes with %v", refused, err)
		}
	})
}

// FuzzRecord decodes anything as a record of the log.
func FuzzRecord(f *testing.F) {
	f.Add(raft.EncodeRecord(&hraft.Log{Index: 7, Term: 2, Data: []byte("data"), Extensions: []byte("ext")}))
	f.Add(raft.EncodeRecord(&hraft.Log{Index: 1, Term: 1, Type: hraft.LogNoop}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var l, again hraft.Log
		if err := raft.DecodeRecord(b, &l); err != nil {
			return
		}
		if err := raft.DecodeRecord(raft.EncodeRecord(&l), &again); err != nil {
			t.Fatalf("a decoded record cannot be decoded again: %v", err)
		}
		if diff := cmp.Diff(l, again); diff != "" {
			t.Errorf("a record changes when it is encoded again:\n%s", diff)
		}
	})
}

// FuzzSegment reads anything as a log file.
func FuzzSegment(f *testing.F) {
	f.Add(append(make([]byte, 32), 1, 0, 0, 0, 3, 0, 0, 0, 'a', 'b', 'c', 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3, 4))
	f.Add(append(make([]byte, 32), 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if end, resumes := raft.ReadSegment(b); end > len(b) || resumes && end == len(b) {
			t.Errorf("end is %d of %d, resumes %t", end, len(b), resumes)
		}
	})
}
