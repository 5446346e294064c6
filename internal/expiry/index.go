package expiry

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/cofferhq/coffer/internal/store"
)

// Class says what an item stands for, and so who handles it.
type Class byte

// The classes. They are on disk.
const (
	Token Class = 't'
	Lease Class = 'l'
	Timer Class = 'm'
)

// Item is something that falls due.
type Item struct {
	// Queue is the mount the item belongs to; [store.System] for tokens.
	Queue store.MountID
	Class Class
	// ID names the item within its class.
	ID string
	At time.Time
}

// state is an item's row.
type state struct {
	Attempts int    `json:"attempts,omitempty"`
	Error    string `json:"error,omitempty"`
}

var fresh = []byte("{}")

func key(it Item) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindDue,
		store.Uint64Part(uint64(it.Queue)), timePart(it.At), string(it.Class)+it.ID)
}

func timePart(t time.Time) string { return store.Uint64Part(uint64(max(t.UnixNano(), 0))) }

func parse(k store.Key) (Item, error) {
	parts, err := k.Parts()
	if err != nil {
		return Item{}, err
	}
	if len(parts) != 3 || len(parts[2]) < 1 {
		return Item{}, fmt.Errorf("decoding due key: %d parts", len(parts))
	}
	queue, ok1 := store.ParseUint64Part(parts[0])
	at, ok2 := store.ParseUint64Part(parts[1])
	if !ok1 || !ok2 {
		return Item{}, fmt.Errorf("decoding due key: bad number")
	}
	return Item{Queue: store.MountID(queue), Class: Class(parts[2][0]), ID: parts[2][1:], At: time.Unix(0, int64(at)).UTC()}, nil
}

// Put adds an item.
func Put(tx store.Txn, it Item) error { return tx.Put(key(it), fresh) }

// Remove takes an item away; At must be the time it was put with. An absent
// item is no error.
func Remove(tx store.Txn, it Item) error { return tx.Delete(key(it)) }

// Move changes an item's time.
func Move(tx store.Txn, it Item, to time.Time) error {
	if err := Remove(tx, it); err != nil {
		return err
	}
	it.At = to
	return Put(tx, it)
}

// Stuck is an item whose handler has failed.
type Stuck struct {
	Item
	Attempts int
	Error    string
}

func queueKey(q store.MountID) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindDue, store.Uint64Part(uint64(q)))
}

// scan yields up to limit items of a queue that are due at now.
func scan(r store.Reader, q store.MountID, now time.Time, limit int) ([]dueItem, error) {
	rng := store.Under(queueKey(q))
	rng.End = queueKey(q).Append(timePart(now.Add(1)))
	rng.Limit = limit
	var due []dueItem
	for e, err := range r.Scan(rng) {
		if err != nil {
			return nil, err
		}
		it, err := parse(e.Key)
		if err != nil {
			return nil, err
		}
		var st state
		if err := json.Unmarshal(e.Value, &st); err != nil {
			return nil, fmt.Errorf("decoding a due row: malformed")
		}
		due = append(due, dueItem{it, st})
	}
	return due, nil
}

type dueItem struct {
	Item
	state
}

// head returns the time of a queue's first item.
func head(r store.Reader, q store.MountID) (time.Time, bool, error) {
	rng := store.Under(queueKey(q))
	rng.Limit = 1
	for e, err := range r.Scan(rng) {
		if err != nil {
			return time.Time{}, false, err
		}
		it, err := parse(e.Key)
		return it.At, err == nil, err
	}
	return time.Time{}, false, nil
}

// queues lists the queues that have items, by seeking from one to the next.
func queues(r store.Reader) ([]store.MountID, error) {
	parts, err := store.Children(r, store.NewKey(store.RootNamespace, store.System, store.KindDue), "", 0)
	if err != nil {
		return nil, err
	}
	ids := make([]store.MountID, 0, len(parts))
	for _, p := range parts {
		if n, ok := store.ParseUint64Part(p); ok {
			ids = append(ids, store.MountID(n))
		}
	}
	return ids, nil
}
