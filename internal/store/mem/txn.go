package mem

import (
	"iter"
	"sort"

	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/btree"
)

// reader reads one state of the tree.
type reader struct {
	store *Store
	rows  *btree.Map[*row]
}

// Get implements [store.Reader].
func (r *reader) Get(key store.Key) ([]byte, error) {
	if r.store.closed.Load() {
		return nil, errClosed
	}
	found, ok := r.rows.Get(string(key))
	if !ok {
		return nil, store.ErrNotFound
	}
	return found.value, nil
}

// Scan implements [store.Reader].
func (r *reader) Scan(rg store.Range) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		if r.store.closed.Load() {
			yield(store.Entry{}, errClosed)
			return
		}
		walk(r.rows, rg, func(key string, found *row) bool {
			return yield(store.Entry{Key: store.Key(key), Value: found.value}, nil)
		})
	}
}

// walk calls visit for the rows of rg, at most rg.Limit of them. It reports
// the last key visited, and whether it went through all rows in the bounds.
func walk(rows *btree.Map[*row], rg store.Range, visit func(string, *row) bool) (last string, whole bool) {
	n := 0
	whole = true
	step := func(key string, found *row) bool {
		n++
		last = key
		whole = visit(key, found) && (rg.Limit <= 0 || n < rg.Limit)
		return whole
	}
	if rg.Reverse {
		rows.Descend(string(rg.Start), string(rg.End), step)
	} else {
		rows.Ascend(string(rg.Start), string(rg.End), step)
	}
	return last, whole
}

// txn is a transaction: a private version of the tree, what it wrote there,
// and what it has read of the base.
type txn struct {
	store  *Store
	base   *state
	rows   btree.Map[*row]
	writes map[store.Key]*row // nil for a removed row
	keys   []readKey
	ranges []store.Range
	budget store.Budget
	err    error // the first refused write; the transaction cannot commit
}

// readKey is a row as the base had it, nil if it had none.
type readKey struct {
	key store.Key
	row *row
}

func newTxn(s *Store) *txn {
	base := s.state.Load()
	return &txn{store: s, base: base, rows: base.rows.Snapshot(), writes: map[store.Key]*row{}}
}

// Get implements [store.Reader].
func (t *txn) Get(key store.Key) ([]byte, error) {
	if t.store.closed.Load() {
		return nil, errClosed
	}
	found, written := t.writes[key]
	if !written {
		found, _ = t.base.rows.Get(string(key))
		t.keys = append(t.keys, readKey{key, found})
	}
	if found == nil {
		return nil, store.ErrNotFound
	}
	return found.value, nil
}

// Scan implements [store.Reader]. Writes made while it runs do not show in it.
func (t *txn) Scan(rg store.Range) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		if t.store.closed.Load() {
			yield(store.Entry{}, errClosed)
			return
		}
		frozen := t.rows.Snapshot()
		last, whole := walk(&frozen, rg, func(key string, found *row) bool {
			return yield(store.Entry{Key: store.Key(key), Value: found.value}, nil)
		})
		t.ranges = append(t.ranges, seen(rg, store.Key(last), whole))
	}
}

// seen narrows a scanned range to the part that the scan has looked at.
func seen(rg store.Range, last store.Key, whole bool) store.Range {
	rg.Limit = 0
	switch {
	case whole:
	case rg.Reverse:
		rg.Start = last
	default:
		rg.End = last + "\x00"
	}
	return rg
}

// Put implements [store.Txn].
func (t *txn) Put(key store.Key, value []byte) error {
	if err := t.spend(key, value); err != nil {
		return err
	}
	t.set(key, &row{value: append([]byte{}, value...)})
	return nil
}

// Delete implements [store.Txn].
func (t *txn) Delete(key store.Key) error {
	if err := t.spend(key, nil); err != nil {
		return err
	}
	t.set(key, nil)
	return nil
}

func (t *txn) spend(key store.Key, value []byte) error {
	if t.err == nil {
		t.err = t.budget.Spend(key, value)
	}
	return t.err
}

func (t *txn) set(key store.Key, r *row) {
	t.writes[key] = r
	apply(&t.rows, key, r)
}

func apply(rows *btree.Map[*row], key store.Key, r *row) {
	if r == nil {
		rows.Delete(string(key))
	} else {
		rows.Set(string(key), r)
	}
}

// holdsOn reports whether everything that t read is the same in current.
func (t *txn) holdsOn(current *state) bool {
	for _, k := range t.keys {
		if now, _ := current.rows.Get(string(k.key)); now != k.row {
			return false
		}
	}
	var before []*row
	for _, rg := range t.ranges {
		before = before[:0]
		t.base.rows.Ascend(string(rg.Start), string(rg.End), func(_ string, r *row) bool {
			before = append(before, r)
			return true
		})
		same := true
		current.rows.Ascend(string(rg.Start), string(rg.End), func(_ string, r *row) bool {
			same = len(before) > 0 && before[0] == r
			if same {
				before = before[1:]
			}
			return same
		})
		if !same || len(before) > 0 {
			return false
		}
	}
	return true
}

// replayOn returns current's tree with what t wrote.
func (t *txn) replayOn(current *state) btree.Map[*row] {
	rows := current.rows.Snapshot()
	for key, r := range t.writes {
		apply(&rows, key, r)
	}
	return rows
}

// changes lists what t wrote in key order.
func (t *txn) changes() []store.Change {
	list := make([]store.Change, 0, len(t.writes))
	for key, r := range t.writes {
		c := store.Change{Key: key}
		if r != nil {
			c.Value = r.value
		}
		list = append(list, c)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Key < list[j].Key })
	return list
}
