package token_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/token"
	"github.com/cofferhq/coffer/internal/wire"
)

// faulty is a store whose updates can be made to fail.
type faulty struct {
	store.Store
	// left counts the updates that still succeed; negative is without limit.
	left atomic.Int64
	// views counts the snapshots asked for.
	views atomic.Int64
}

func (f *faulty) View(ctx context.Context, fn func(store.Reader) error) error {
	f.views.Add(1)
	return f.Store.View(ctx, fn)
}

var errBroken = fault.New(fault.Unavailable, "the disk is gone")

func (f *faulty) Update(ctx context.Context, fn func(store.Txn) error) (store.Index, error) {
	if f.left.Load() >= 0 && f.left.Add(-1) < 0 {
		f.left.Store(0)
		return 0, errBroken
	}
	return f.Store.Update(ctx, fn)
}

// method is an auth method that answers renewals with fixed settings.
type method struct {
	params route.TokenParams
	err    error
}

func (m *method) Renew(context.Context, *route.Call, []byte) (authn.TokenParams, error) {
	return m.params, m.err
}

// world is the token noun over an empty store, with the lease noun beside it.
type world struct {
	*token.Store
	t      testing.TB
	db     *faulty
	clock  *clock.Fake
	leases *lease.Store
	method *method
	mount  route.Mount
	// empty are the rows of a store without tokens.
	empty []string
}

const day = 24 * time.Hour

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, db: &faulty{Store: mem.New()}, clock: clock.NewFake(time.Time{}), method: &method{}}
	w.db.left.Store(-1)
	w.mount = route.Mount{ID: 4, Namespace: store.RootNamespace, Path: "auth/token/", Type: "token", Auth: true, DefaultTTL: day, MaxTTL: 32 * day}
	w.update(func(tx store.Txn) error { return token.Init(tx, rng("keys")) })
	quiet := slog.New(slog.DiscardHandler)
	var err error
	if w.Store, err = token.New(t.Context(), token.Config{
		Store: w.db, Clock: w.clock, Log: quiet, Leases: owned{w}, WipeCubbyhole: wipeCubbyhole,
		PolicyExists: func(store.NamespaceID, string) bool { return true },
		Method: func(_ context.Context, id store.MountID) (authn.Renewer, route.Mount, error) {
			return w.method, route.Mount{ID: id, DefaultTTL: day, MaxTTL: 32 * day}, nil
		},
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	w.leases = lease.New(lease.Config{
		Store: w.db, Clock: w.clock, Log: quiet, Tokens: w.Store,
		Engine: func(context.Context, store.MountID) (any, route.Mount, error) {
			return nil, route.Mount{}, fault.New(fault.NotFound, "")
		},
	})
	w.empty = w.rows()
	return w
}

type owned struct{ w *world }

func (o owned) EndOwned(tx store.Txn, owner string, limit int) (int, error) {
	return o.w.leases.EndOwned(tx, owner, limit)
}

// cubbyholeMount is where the tests keep the rows of cubbyholes.
const cubbyholeMount store.MountID = 3

func cubbyholeKey(handle string) store.Key {
	return store.NewKey(store.RootNamespace, cubbyholeMount, 1, handle)
}

func wipeCubbyhole(tx store.Txn, _ store.NamespaceID, handle string, limit int) (int, error) {
	names, err := store.Children(tx, cubbyholeKey(handle), "", limit)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if err := tx.Delete(cubbyholeKey(handle).Append(name)); err != nil {
			return 0, err
		}
	}
	return len(names), nil
}

// rng is a reproducible source of randomness.
func rng(seed string) io.Reader { return &repeated{text: seed} }

type repeated struct {
	text string
	n    int
}

func (r *repeated) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = r.text[r.n%len(r.text)] + byte(r.n/len(r.text))
		r.n++
	}
	return len(b), nil
}

func (w *world) update(fn func(store.Txn) error) {
	w.t.Helper()
	if _, err := w.db.Store.Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// rows lists all rows of the store as "kind:parts".
func (w *world) rows() []string {
	w.t.Helper()
	var rows []string
	err := w.db.View(w.t.Context(), func(r store.Reader) error {
		for e, err := range r.Scan(store.Range{}) {
			if err != nil {
				return err
			}
			parts, err := e.Key.Parts()
			if err != nil {
				return err
			}
			rows = append(rows, describe(e.Key, parts))
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

func describe(k store.Key, parts []string) string {
	return string(rune('0'+k.Mount())) + "/" + string(rune(0x100+rune(k.Kind()))) + "/" + strings.Join(parts, "/")
}

// gone fails the test unless no row is left beyond those of an empty store.
func (w *world) gone() {
	w.t.Helper()
	if rows := w.rows(); !slices.Equal(rows, w.empty) {
		w.t.Errorf("%d rows are left, want %d", len(rows), len(w.empty))
	}
}

// made is a token with its text.
type made struct {
	*token.Entry
	text string
}

// create makes a service token below a parent, nil for an orphan.
func (w *world) create(parent *made, change ...func(*token.Entry)) *made {
	w.t.Helper()
	e := token.Entry{NS: store.RootNamespace, Policies: []string{"default"}, Path: "auth/token/create", Type: token.Service, TTL: time.Hour, Renewable: true}
	if parent != nil {
		e.Parent = []byte(parent.Handle)
	}
	for _, c := range change {
		c(&e)
	}
	entry, text, err := w.Create(w.t.Context(), e, "", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &made{entry, text}
}

// grant gives a token a lease.
func (w *world) grant(owner *made) *lease.Entry {
	w.t.Helper()
	c := w.call(owner)
	c.Full = "database/creds/r"
	c.Mount = route.Mount{ID: 9, DefaultTTL: time.Hour, MaxTTL: day}
	var e *lease.Entry
	w.update(func(tx store.Txn) error {
		var err error
		e, err = w.leases.Grant(tx, c, &engine.Lease{Payload: []byte("p")}, nil)
		return err
	})
	return e
}

func (w *world) call(caller *made) *route.Call {
	c := &route.Call{
		ID: "1", Namespace: route.Namespace{ID: store.RootNamespace}, Mount: w.mount, Now: w.clock.Now(), Full: "auth/token/create",
		Log: slog.New(slog.DiscardHandler),
	}
	if caller != nil {
		c.Caller = caller.Caller()
	}
	return c
}

// ask sends a request to an endpoint of auth/token.
func (w *world) ask(verb route.Verb, caller *made, path, body string, change ...func(*route.Call)) (*route.Reply, []string, error) {
	w.t.Helper()
	table, err := route.NewTable(route.Bind(w.Store, token.Routes))
	if err != nil {
		w.t.Fatal(err)
	}
	var match route.Match
	e, _ := table.Find(verb, path, &match)
	if e == nil {
		w.t.Fatalf("no endpoint %s", path)
	}
	c := w.call(caller)
	c.Verb, c.Full = verb, "auth/token/"+path
	if caller != nil {
		c.ClientToken = wire.Secret(caller.text)
	}
	if c.Body, err = wire.ParseObject([]byte(body), wire.DefaultLimits); err != nil {
		w.t.Fatal(err)
	}
	for _, fn := range change {
		fn(c)
	}
	c.SetMatch(&match, e)
	reply, err := e.Handle(w.t.Context(), nil, c)
	return reply, c.Warnings(), err
}

// role writes a role.
func (w *world) role(name, body string) {
	w.t.Helper()
	if _, _, err := w.ask(route.VerbWrite, nil, "roles/"+name, body); err != nil {
		w.t.Fatal(err)
	}
}

// alive reports whether a token can be presented.
func (w *world) alive(m *made) bool {
	w.t.Helper()
	_, err := w.Authenticate(w.t.Context(), m.text)
	if err != nil && !errors.Is(err, fault.Denied) {
		w.t.Fatal(err)
	}
	return err == nil
}

// wantAlive compares which of the tokens can be presented.
func (w *world) wantAlive(want bool, tokens ...*made) {
	w.t.Helper()
	for i, m := range tokens {
		if got := w.alive(m); got != want {
			w.t.Errorf("token %d can be used: %v, want %v", i, got, want)
		}
	}
}

// due is the item of a token in the expiry index.
func due(m *made) expiry.Item {
	return expiry.Item{Queue: store.System, Class: expiry.Token, ID: m.Handle, At: m.Expires}
}
