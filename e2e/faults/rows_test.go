package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/seal"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/raft"
	"github.com/cofferhq/coffer/internal/token"
	"github.com/cofferhq/coffer/internal/wire"
)

// rows is what a node's storage holds of tokens, leases and timers: the records
// and every index over them.
type rows struct {
	tokens    map[string]token.Entry    // by handle
	accessors map[string]string         // accessor to handle
	children  map[string]string         // child's handle to parent's
	leases    map[string]lease.Entry    // by id, those of engines
	granted   map[string]int            // by token's handle, how many lease rows stand for it
	owned     map[string]string         // lease id to owner's handle
	due       map[string]dueRow         // by class and id
	timers    map[string]time.Time      // by mount and name
	intents   map[string]intentRow      // by mount and timer's name
	spaces    map[store.NamespaceID]int // how many rows a namespace has
	problems  []string
}

type dueRow struct {
	at    time.Time
	tried bool // the item has been put off after a failure
}

// intentRow is the note of a database user who is being made.
type intentRow struct{ Connection, Username string }

// The database engine's kind of intents, and its timer for each of them. Both
// are on disk, so they do not change.
const (
	kindIntent  store.Kind = 4
	intentTimer            = "intent/"
)

// readRows opens a copy of the node's storage, as it lies there now.
func (n *node) readRows() *rows {
	n.t.Helper()
	copied := filepath.Join(n.t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", "--sparse=always", n.Data, copied).CombinedOutput(); err != nil {
		n.t.Fatalf("copying the storage: %v: %s", err, out)
	}
	all, err := readRows(background(), copied, n.Key)
	if err != nil {
		n.t.Fatalf("reading the storage: %v", err)
	}
	return all
}

// readRows reads the storage in a folder that no server uses.
func readRows(ctx context.Context, dir, key string) (*rows, error) {
	st, err := raft.Open(raft.Config{Path: dir})
	if err != nil {
		return nil, err
	}
	all := &rows{
		tokens: map[string]token.Entry{}, accessors: map[string]string{}, children: map[string]string{}, leases: map[string]lease.Entry{},
		granted: map[string]int{}, owned: map[string]string{}, due: map[string]dueRow{}, timers: map[string]time.Time{}, intents: map[string]intentRow{},
		spaces: map[store.NamespaceID]int{},
	}
	ceremony, err := seal.New(seal.Config{
		Store: st, RootTokenLength: token.RootLen,
		NewRootToken: func(context.Context, *barrier.Barrier) (string, error) { return "", nil },
		Unsealed:     func(ctx context.Context, b *barrier.Barrier) error { return b.View(ctx, all.read) },
		Sealed:       func(context.Context) {},
	})
	if err == nil {
		_, err = ceremony.Unseal(ctx, seal.UnsealRequest{Key: wire.Secret(key)})
		ceremony.Seal(ctx)
	}
	if cerr := st.Close(); err == nil {
		err = cerr
	}
	return all, err
}

func (all *rows) read(r store.Reader) error {
	for e, err := range r.Scan(store.Range{}) {
		if err != nil {
			return err
		}
		parts, err := e.Key.Parts()
		if err != nil {
			return err
		}
		all.spaces[e.Key.Namespace()]++
		if e.Key.Mount() == store.System {
			err = all.readSystem(e, parts)
		} else if e.Key.Kind() == kindIntent {
			err = all.readIntent(e, parts)
		}
		if err != nil {
			return fmt.Errorf("row of kind %d: %w", e.Key.Kind(), err)
		}
	}
	return nil
}

func (all *rows) readSystem(e store.Entry, parts []string) error {
	switch e.Key.Kind() {
	case store.KindToken:
		var t token.Entry
		if err := json.Unmarshal(e.Value, &t); err != nil {
			return err
		}
		all.tokens[parts[0]] = t
	case store.KindAccessor:
		all.accessors[parts[0]] = string(e.Value)
	case store.KindTokenParent:
		all.children[parts[1]] = parts[0]
	case store.KindLease:
		var l lease.Entry
		if err := json.Unmarshal(e.Value, &l); err != nil {
			return err
		}
		if len(l.Token) > 0 {
			all.granted[string(l.Token)]++
			return nil
		}
		all.leases[strings.Join(parts, "/")] = l
	case store.KindLeaseOwner:
		all.owned[parts[1][8:]] = parts[0]
	case store.KindDue:
		at, ok := store.ParseUint64Part(parts[1])
		if !ok {
			return fmt.Errorf("no time in the key")
		}
		id := parts[2]
		if _, twice := all.due[id]; twice {
			all.problem("%q is due twice", id)
		}
		all.due[id] = dueRow{at: time.Unix(0, int64(at)), tried: string(e.Value) != "{}"}
	case store.KindTimer:
		var row struct {
			At   time.Time
			Mark string
		}
		if err := json.Unmarshal(e.Value, &row); err != nil {
			return err
		}
		all.timers["m"+row.Mark+"/"+parts[1]] = row.At
	}
	return nil
}

func (all *rows) readIntent(e store.Entry, parts []string) error {
	var i intentRow
	if json.Unmarshal(e.Value, &i) != nil || i.Username == "" {
		return nil // the row of another engine
	}
	all.intents[parts[0]] = i
	return nil
}

func (all *rows) problem(format string, args ...any) {
	all.problems = append(all.problems, fmt.Sprintf(format, args...))
}

// audit fails the test unless every record has its rows in the indexes, and
// every row of an index its record.
func (all *rows) audit(t *testing.T) {
	t.Helper()
	all.auditTokens()
	all.auditLeases()
	all.auditDue()
	for i, p := range all.problems {
		if i == 10 {
			t.Errorf("and %d more", len(all.problems)-i)
			break
		}
		t.Error(p)
	}
}

func (all *rows) auditTokens() {
	for handle, e := range all.tokens {
		if all.accessors[e.Accessor] != handle {
			all.problem("token %x: accessor %s leads to %x", handle, e.Accessor, all.accessors[e.Accessor])
		}
		if parent := all.children[handle]; parent != string(e.Parent) {
			all.problem("token %x: is child of %x by its record, of %x by the index", handle, e.Parent, parent)
		}
		if _, ok := all.tokens[string(e.Parent)]; len(e.Parent) > 0 && !ok {
			all.problem("token %x: outlives its parent", handle)
		}
		if e.Expires.IsZero() {
			if !e.Root() {
				all.problem("token %x: has no end", handle)
			}
			continue
		}
		if all.granted[handle] != 1 {
			all.problem("token %x: %d lease rows", handle, all.granted[handle])
		}
		all.mustBeDue("t"+handle, e.Expires)
	}
	for accessor, handle := range all.accessors {
		if e, ok := all.tokens[handle]; !ok || e.Accessor != accessor {
			all.problem("accessor %s: no token", accessor)
		}
	}
	for child, parent := range all.children {
		if _, ok := all.tokens[child]; !ok {
			all.problem("child %x of %x: no token", child, parent)
		}
	}
	for handle := range all.granted {
		if _, ok := all.tokens[handle]; !ok {
			all.problem("lease row of token %x: no token", handle)
		}
	}
}

func (all *rows) auditLeases() {
	for id, e := range all.leases {
		if owner := all.owned[id]; owner != string(e.Owner) {
			all.problem("lease %s: owned by %x by its record, by %x by the index", id, e.Owner, owner)
		}
		if _, ok := all.tokens[string(e.Owner)]; len(e.Owner) > 0 && !ok {
			all.problem("lease %s: outlives its token", id)
		}
		all.mustBeDue("l"+store.Uint64Part(uint64(store.RootNamespace))+id, e.Expires)
	}
	for id, owner := range all.owned {
		if _, ok := all.leases[id]; !ok {
			all.problem("lease %s of token %x: no lease", id, owner)
		}
	}
}

func (all *rows) auditDue() {
	for id, at := range all.timers {
		all.mustBeDue(id, at)
	}
	for id := range all.intents {
		if !all.hasTimer(intentTimer + id) {
			all.problem("intent %s: no timer", id)
		}
	}
	for id := range all.due {
		known := false
		switch id[0] {
		case 't':
			_, known = all.tokens[id[1:]]
		case 'l':
			_, known = all.leases[id[9:]]
		case 'm':
			_, known = all.timers[id]
		}
		if !known {
			all.problem("due item %q: stands for nothing", id)
		}
	}
}

func (all *rows) hasTimer(name string) bool {
	for id := range all.timers {
		if _, have, _ := strings.Cut(id, "/"); have == name {
			return true
		}
	}
	return false
}

func (all *rows) mustBeDue(id string, at time.Time) {
	if row, ok := all.due[id]; !ok || !row.tried && !row.at.Equal(at) {
		all.problem("%q ends at %v, and is due at %v", id, at, row.at)
	}
}

// auditUsers fails the test if a database user has neither a lease nor an
// intent, and returns how many have only an intent.
func (all *rows) auditUsers(t *testing.T, users []string) (unfinished int) {
	t.Helper()
	known := map[string]bool{}
	for _, i := range all.intents {
		known[i.Username] = true
	}
	leased := map[string]bool{}
	for id, e := range all.leases {
		var grant struct{ Username string }
		if err := json.Unmarshal(e.Payload, &grant); err != nil {
			t.Errorf("lease %s: %v", id, err)
		}
		leased[grant.Username] = true
	}
	for _, u := range users {
		switch {
		case leased[u]:
		case known[u]:
			unfinished++
		default:
			t.Errorf("database user %s has neither lease nor intent", u)
		}
	}
	return unfinished
}
