package mount_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

const day = 24 * time.Hour

// world is a table of mounts over a store.
type world struct {
	*mount.Table
	t      testing.TB
	db     store.Store
	clock  *clock.Fake
	leases *leases

	mu        sync.Mutex
	instances []*instance // guarded by mu: in the order in which they were made
}

// instance is what stands at a mount of the type "db".
type instance struct {
	host    engine.Host
	version string

	mu      sync.Mutex
	closed  int      // guarded by mu
	cleaned int      // guarded by mu
	fired   []string // guarded by mu
	closing func()
}

func (i *instance) Close() error {
	if i.closing != nil {
		i.closing()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed++
	return nil
}

func (i *instance) Clean(context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cleaned++
	return nil
}

func (i *instance) Fire(_ context.Context, name string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fired = append(i.fired, name)
	return nil
}

// leases is a lease noun that notes which prefixes were revoked.
type leases struct {
	mu       sync.Mutex
	prefixes []string // guarded by mu
	err      error
	// during runs while a prefix is being revoked.
	during func()
}

func (l *leases) RevokePrefix(_ context.Context, _ store.NamespaceID, prefix string, _ bool) error {
	if l.during != nil {
		l.during()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prefixes = append(l.prefixes, prefix)
	return l.err
}

var limits = mount.Limits{DefaultTTL: 32 * day, MaxTTL: 32 * day}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, db: mem.New(), clock: clock.NewFake(time.Time{}), leases: &leases{}}
	w.update(func(tx store.Txn) error { return mount.Init(tx, rand.Reader, store.RootNamespace) })
	w.Table = w.another()
	return w
}

// another opens a second table over the same store, as another node has it.
func (w *world) another() *mount.Table {
	w.t.Helper()
	table, err := mount.New(w.t.Context(), w.config())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(table.Close)
	return table
}

func (w *world) config() mount.Config {
	make := func(version string) func(engine.Host) (any, error) {
		return func(h engine.Host) (any, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			i := &instance{host: h, version: version}
			w.instances = append(w.instances, i)
			return i, nil
		}
	}
	one := &engine.Type{Name: "kv", New: make("1")}
	two := &engine.Type{Name: "kv", New: make("2")}
	return mount.Config{
		Store: w.db, Clock: w.clock, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler), Limits: limits,
		Engines: []engine.Type{
			{Name: "db", New: make("")}, {Name: "cubbyhole", Singleton: true, New: make("")},
			{Name: "kv", Versions: map[string]*engine.Type{"": one, "1": one, "2": two}},
		},
		Methods: []authn.Type{{Name: "users", New: make(""), Lockout: true}},
		Builtin: func(string) *route.Table { return nil },
		Leases:  func() mount.Leases { return w.leases },
		Forget:  func(store.Txn, *mount.Entry) error { return nil },
		Passwords: func(context.Context, store.NamespaceID, string) (string, error) {
			return "", nil
		},
		Allowed: func(context.Context, *route.Call, string) bool { return true },
		Known:   func(context.Context, *route.Call) bool { return true },
	}
}

func (w *world) update(fn func(store.Txn) error) {
	w.t.Helper()
	if _, err := w.db.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// enable mounts a type and returns the mount.
func (w *world) enable(path, mountType string) *mount.Mounted {
	w.t.Helper()
	if _, err := w.Enable(w.t.Context(), mount.Entry{NS: store.RootNamespace, Path: path, Type: mountType}); err != nil {
		w.t.Fatalf("enabling %s: %v", path, err)
	}
	return w.at(path)
}

func (w *world) at(path string) *mount.Mounted {
	w.t.Helper()
	m := w.At(store.RootNamespace, path)
	if m == nil {
		w.t.Fatalf("no mount at %s", path)
	}
	return m
}

// instance returns the instance at a mount.
func (w *world) instance(m *mount.Mounted) *instance {
	w.t.Helper()
	i, err := m.Instance()
	if err != nil {
		w.t.Fatal(err)
	}
	return i.(*instance)
}

func (w *world) disable(path string) error {
	return w.Disable(w.t.Context(), store.RootNamespace, path)
}

func (w *world) move(from, to string) error {
	return w.Move(w.t.Context(), store.RootNamespace, from, to)
}

// rows counts the rows of a mount.
func (w *world) rows(id store.MountID) int {
	return w.count(store.NewKey(store.RootNamespace, id, 0)[:16])
}

// kind counts the rows of one of the house's kinds.
func (w *world) kind(k store.Kind) int {
	return w.count(store.NewKey(store.RootNamespace, store.System, k))
}

func (w *world) count(under store.Key) int {
	w.t.Helper()
	n := 0
	err := w.db.View(w.t.Context(), func(r store.Reader) error {
		n = 0
		for _, err := range r.Scan(store.Under(under)) {
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

// fill gives a mount rows and timers.
func (w *world) fill(m *mount.Mounted, rows, timers int) {
	w.t.Helper()
	i := w.instance(m)
	err := i.host.Storage.Update(w.t.Context(), func(tx store.Txn) error {
		for n := range rows {
			if err := tx.Put(i.host.Storage.Key(store.Kind(1+n%3), strings.Repeat("x", n%7), store.Uint64Part(uint64(n))), []byte("v")); err != nil {
				return err
			}
		}
		for n := range timers {
			if err := i.host.Timers.Schedule(tx, store.Uint64Part(uint64(n)), w.clock.Now().Add(time.Hour)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// ask sends a request to an endpoint of the noun.
func (w *world) ask(verb route.Verb, path, body string) (*route.Reply, []string, error) {
	w.t.Helper()
	table, err := route.NewTable(route.Bind(w.Table, mount.Routes))
	if err != nil {
		w.t.Fatal(err)
	}
	var match route.Match
	e, _ := table.Find(verb, path, &match)
	if e == nil {
		return nil, nil, fault.New(fault.NotFound, "")
	}
	c := &route.Call{ID: "1", Verb: verb, Namespace: route.Namespace{ID: store.RootNamespace}, Now: w.clock.Now(), Full: "sys/" + path, Query: url.Values{}}
	if c.Body, err = wire.ParseObject([]byte(body), wire.DefaultLimits); err != nil {
		w.t.Fatal(err)
	}
	c.SetMatch(&match, e)
	reply, err := e.Handle(w.t.Context(), nil, c)
	return reply, c.Warnings(), err
}

// answer is [world.ask] for an endpoint that must answer.
func (w *world) answer(verb route.Verb, path, body string) map[string]any {
	w.t.Helper()
	reply, _, err := w.ask(verb, path, body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", verb, path, err)
	}
	m := map[string]any{}
	if len(reply.Data) > 0 {
		if err := json.Unmarshal(reply.Data, &m); err != nil {
			w.t.Fatal(err)
		}
	}
	return m
}
