package lease_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

const day = 24 * time.Hour

// world is the lease noun over an empty store, with one mount and a few tokens.
type world struct {
	*lease.Store
	t      *testing.T
	db     store.Store
	clock  *clock.Fake
	engine *grants
	tokens *tokens
	mount  route.Mount
	// vanished says that the mount is gone.
	vanished bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, db: mem.New(), clock: clock.NewFake(time.Time{}), engine: &grants{}, tokens: &tokens{dead: map[string]bool{}}}
	w.mount = route.Mount{ID: 9, Namespace: store.RootNamespace, Path: "database/", UUID: "the mount", DefaultTTL: time.Hour, MaxTTL: day}
	w.Store = lease.New(w.config())
	return w
}

func (w *world) config() lease.Config {
	return lease.Config{
		Store: w.db, Clock: w.clock, Log: slog.New(slog.DiscardHandler), Tokens: w.tokens,
		Engine: func(context.Context, store.MountID) (any, route.Mount, error) {
			if w.vanished {
				return nil, route.Mount{}, fault.New(fault.NotFound, "no such mount")
			}
			return w.engine, w.mount, nil
		},
	}
}

// grants is an engine that notes what it undoes and prolongs.
type grants struct {
	mu      sync.Mutex
	undone  []string // guarded by mu
	renewed []time.Time
	limits  engine.RenewLimits
	// refuse decides whether undoing fails; during runs while it is under way.
	refuse func(payload string) error
	during func()
}

func (g *grants) Revoke(_ context.Context, payload []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.during != nil {
		g.during()
	}
	if g.refuse != nil {
		if err := g.refuse(string(payload)); err != nil {
			return err
		}
	}
	g.undone = append(g.undone, string(payload))
	return nil
}

func (g *grants) Renew(_ context.Context, _ []byte, until time.Time) (engine.RenewLimits, error) {
	g.renewed = append(g.renewed, until)
	return g.limits, nil
}

// taken returns the payloads undone since the last time, sorted.
func (g *grants) taken() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := g.undone
	g.undone = nil
	slices.Sort(list)
	return list
}

var errDown = fault.New(fault.Upstream, "the database is down")

func down(string) error { return errDown }

// tokens is a token noun whose tokens are what the tests say.
type tokens struct {
	dead    map[string]bool
	revoked []string
	err     error
}

func (tk *tokens) Revoke(_ context.Context, handle string) error {
	tk.revoked = append(tk.revoked, handle)
	return tk.err
}

func (tk *tokens) Alive(_ store.Reader, handle string) error {
	if tk.dead[handle] {
		return fault.New(fault.Denied, "permission denied")
	}
	return nil
}

func (tk *tokens) Times(context.Context, string) (issued, renewed, expires time.Time, renewable bool, err error) {
	return issued, renewed, expires, false, nil
}

func (w *world) update(fn func(store.Txn) error) {
	w.t.Helper()
	if _, err := w.db.Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) call(full, token string) *route.Call {
	return &route.Call{
		ID: "1", Namespace: route.Namespace{ID: store.RootNamespace}, Mount: w.mount, Now: w.clock.Now(), Full: full,
		Caller: route.Caller{Token: token}, Log: slog.New(slog.DiscardHandler),
	}
}

// grant makes a lease of a path for a token.
func (w *world) grant(full, token string, l route.Lease) *lease.Entry {
	w.t.Helper()
	e, err := w.tryGrant(w.call(full, token), l)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func (w *world) tryGrant(c *route.Call, l route.Lease) (*lease.Entry, error) {
	var e *lease.Entry
	_, err := w.db.Update(w.t.Context(), func(tx store.Txn) error {
		var err error
		e, err = w.Grant(tx, c, &l, func(tx store.Txn) store.Txn { return tx })
		return err
	})
	return e, err
}

// rows counts all rows of the store.
func (w *world) rows() int {
	w.t.Helper()
	n := 0
	err := w.db.View(w.t.Context(), func(r store.Reader) error {
		n = 0
		for _, err := range r.Scan(store.Range{}) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// due reads the items of the mount that are due.
func (w *world) due() []expiry.Item {
	w.t.Helper()
	var items []expiry.Item
	err := w.db.View(w.t.Context(), func(r store.Reader) error {
		for e, err := range r.Scan(store.Under(store.NewKey(store.RootNamespace, store.System, store.KindDue))) {
			if err != nil {
				return err
			}
			parts, err := e.Key.Parts()
			if err != nil {
				return err
			}
			queue, _ := store.ParseUint64Part(parts[0])
			at, _ := store.ParseUint64Part(parts[1])
			it := expiry.Item{Queue: store.MountID(queue), Class: expiry.Class(parts[2][0]), ID: parts[2][1:], At: time.Unix(0, int64(at)).UTC()}
			if !it.At.After(w.clock.Now()) {
				items = append(items, it)
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return items
}

// expire hands all due items to the noun once and returns how many failed.
func (w *world) expire() (failed int) {
	w.t.Helper()
	for _, it := range w.due() {
		if err := w.Expire(w.t.Context(), it); err != nil {
			failed++
		}
	}
	return failed
}

// count returns how many leases there are.
func (w *world) count() int {
	w.t.Helper()
	n, err := w.Count(w.t.Context(), store.RootNamespace)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// ask sends a request to an endpoint of sys/leases. The path may have a query.
func (w *world) ask(verb route.Verb, path, body string) (*route.Reply, []string, error) {
	w.t.Helper()
	table, err := route.NewTable(route.Bind(w.Store, lease.Routes))
	if err != nil {
		w.t.Fatal(err)
	}
	path, query, _ := strings.Cut(path, "?")
	var match route.Match
	e, _ := table.Find(verb, path, &match)
	if e == nil {
		w.t.Fatalf("no endpoint %s", path)
	}
	c := w.call("sys/"+path, "t")
	if c.Query, err = url.ParseQuery(query); err != nil {
		w.t.Fatal(err)
	}
	if c.Body, err = wire.ParseObject([]byte(body), wire.DefaultLimits); err != nil {
		w.t.Fatal(err)
	}
	c.SetMatch(&match, e)
	reply, err := e.Handle(w.t.Context(), nil, c)
	return reply, c.Warnings(), err
}

// data decodes what an endpoint answers.
func data[T any](t *testing.T, r *route.Reply, err error) T {
	t.Helper()
	var v T
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(r.Data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
