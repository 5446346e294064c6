package database_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/database"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// fakeDatabase is a database in memory: users and their passwords. Its driver
// logs in with the details username and password.
type fakeDatabase struct {
	mu    sync.Mutex
	users map[string]string // guarded by mu
	// fail, if set, is asked before and after every operation ("create",
	// "password", "drop", "verify"); an error becomes the operation's.
	fail func(op string, done bool) error
}

var (
	errRefused     = fault.New(fault.Upstream, "refused")
	errUnreachable = fault.Wrap(fault.Upstream, database.ErrUnreachable, "unreachable")
	errUncertain   = fault.Wrap(fault.Upstream, database.ErrUncertain, "uncertain")
	errCredentials = fault.Wrap(fault.Upstream, database.ErrCredentials, "wrong password")
)

func (f *fakeDatabase) driver() database.Driver {
	return database.Driver{
		Names: []string{"fake"}, MaxUsername: 63,
		Check: func([]string) error { return nil },
		Open: func(d database.Details) (database.Connection, error) {
			user, _ := d.Text("username")
			password, _ := d.Text("password")
			return &fakeConnection{f, user, password}, nil
		},
	}
}

func (f *fakeDatabase) password(user string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.users[user]
}

type fakeConnection struct {
	f              *fakeDatabase
	user, password string
}

func (c *fakeConnection) do(op string, change func(map[string]string)) error {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	fail := c.f.fail
	if fail == nil {
		fail = func(string, bool) error { return nil }
	}
	if err := fail(op, false); err != nil {
		return err
	}
	if c.f.users[c.user] != c.password {
		return errCredentials
	}
	change(c.f.users)
	return fail(op, true)
}

func (c *fakeConnection) Verify(context.Context) error {
	return c.do("verify", func(map[string]string) {})
}

func (c *fakeConnection) Create(_ context.Context, u database.User, _ []string) error {
	return c.do("create", func(users map[string]string) { users[u.Name] = u.Password.Reveal() })
}

func (c *fakeConnection) SetPassword(_ context.Context, u database.User, _ []string) error {
	return c.do("password", func(users map[string]string) { users[u.Name] = u.Password.Reveal() })
}

func (c *fakeConnection) Extend(context.Context, database.User, []string) error {
	return c.do("extend", func(map[string]string) {})
}

func (c *fakeConnection) Drop(_ context.Context, username string, _ []string) error {
	return c.do("drop", func(users map[string]string) { delete(users, username) })
}

func (c *fakeConnection) Close() {}

// crashingStore loses power at its nth Update: that one and all later ones
// fail.
type crashingStore struct {
	store.Store
	mu   sync.Mutex
	left int // guarded by mu; negative is for ever
}

var errPower = errors.New("power is off")

func (c *crashingStore) Update(ctx context.Context, fn func(store.Txn) error) (store.Index, error) {
	c.mu.Lock()
	left := c.left
	if c.left > 0 {
		c.left--
	}
	c.mu.Unlock()
	if left == 0 {
		return 0, errPower
	}
	return c.Store.Update(ctx, fn)
}

// node is an engine on a store that can crash, with a fake database.
type node struct {
	*enginetest.Mount
	db    *fakeDatabase
	power *crashingStore
	host  engine.Host
	typ   engine.Type
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{db: &fakeDatabase{users: map[string]string{"root": "root-password", "svc": "svc-password"}}}
	n.typ = database.Type(n.db.driver())
	n.Mount = enginetest.New(t, n.typ.Routes, func(h engine.Host) (any, error) {
		n.host = h
		return n.typ.New(h)
	})
	n.power = &crashingStore{Store: n.Store, left: -1}
	n.restart(t)
	n.Write("config/db", object{"plugin_name": "fake", "connection_url": "fake://{{username}}:{{password}}@h", "username": "root", "password": "root-password", "allowed_roles": "*"})
	n.Write("roles/app", object{"db_name": "db", "creation_statements": "CREATE"})
	return n
}

// restart is a new leader: nothing is left but what was stored.
func (n *node) restart(t *testing.T) {
	t.Helper()
	n.power.mu.Lock()
	n.power.left = -1
	n.power.mu.Unlock()
	h := n.host
	h.Storage = engine.NewStorage(store.RootNamespace, 7, n.power)
	var err error
	if n.Instance, err = n.typ.New(h); err != nil {
		t.Fatal(err)
	}
}

// crashAfter lets so many more updates succeed.
func (n *node) crashAfter(updates int) {
	n.power.mu.Lock()
	defer n.power.mu.Unlock()
	n.power.left = updates
}
