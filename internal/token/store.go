package token

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Leases is what a token needs of the lease noun.
type Leases interface {
	// EndOwned makes at most limit leases of a token due now, in tx, and
	// returns how many it touched.
	EndOwned(tx store.Txn, owner string, limit int) (int, error)
}

// Times returns when a token was issued, last renewed and ends, and whether it
// can be renewed.
func (s *Store) Times(ctx context.Context, handle string) (issued, renewed, expires time.Time, renewable bool, err error) {
	e, err := s.load(ctx, handle)
	if err != nil {
		return issued, renewed, expires, false, err
	}
	return e.Created, e.Renewed, e.Expires, e.Renewable, nil
}

// Alive reports with an error that a token cannot hold a lease any more. Read
// in a transaction, it makes the lease and the token's revocation exclude each
// other.
func (s *Store) Alive(r store.Reader, handle string) error {
	e, err := get(r, handle)
	if errors.Is(err, store.ErrNotFound) || err == nil && !e.usableParent(s.Clock.Now()) {
		return errBad
	}
	return err
}

// Config is what a [Store] needs.
type Config struct {
	Store store.Store
	Clock clock.Clock
	Rand  io.Reader
	Log   *slog.Logger
	// Leases ends the leases of a revoked token.
	Leases Leases
	// WipeCubbyhole removes at most limit rows of the cubbyhole of a namespace's
	// token in tx and returns how many it removed.
	WipeCubbyhole func(tx store.Txn, ns store.NamespaceID, id string, limit int) (int, error)
	// PolicyExists reports whether an ACL policy is there, for warnings.
	PolicyExists func(ns store.NamespaceID, name string) bool
	// Method returns the auth method's instance and the mount it stands at,
	// for renewals.
	Method func(ctx context.Context, id store.MountID) (authn.Renewer, route.Mount, error)
	// EntityPolicies returns the policies that an entity adds to its tokens',
	// sorted; none for an entity that is gone. It may be nil.
	EntityPolicies func(ctx context.Context, ns store.NamespaceID, entity string) ([]string, error)
	// ExternalPolicies returns the policies that groups of other namespaces give an
	// entity, by the ids that the API shows. It may be nil.
	ExternalPolicies func(ctx context.Context, ns store.NamespaceID, entity string) (map[string][]string, error)
	// Entity returns the entity of an alias at a mount, and what to write in the
	// token's transaction if there is something to write; that returns the
	// entity then. It may be nil.
	Entity func(ctx context.Context, m route.Mount, alias string) (id string, write func(store.Txn) (string, error), err error)
	// Renewing is asked before a token of an entity is renewed. It may refuse,
	// or return what to write in the renewal's transaction. It may be nil.
	Renewing func(ctx context.Context, c *route.Call, e *Entry) (func(store.Txn) error, error)
	// Serving reports with an error that a mount is gone, moved or being
	// disabled. Read in a transaction, it makes a login and the end of its
	// method exclude each other. It may be nil.
	Serving func(r store.Reader, m route.Mount) error
}

// Store is the token noun.
type Store struct {
	Config
	hash  *hasher
	batch *batchSealer
	cache *cache
	stop  func()
}

// keys are the secrets of the noun, one row.
type keys struct {
	Hash  []byte `json:"hash"`
	Batch []byte `json:"batch"`
}

var keysKey = store.NewKey(store.RootNamespace, store.System, store.KindTokenKey)

// Init writes the noun's keys at the cluster's birth; it does nothing if they
// are there.
func Init(tx store.Txn, random io.Reader) error {
	if ok, err := store.Exists(tx, keysKey); err != nil || ok {
		return err
	}
	k := keys{Hash: make([]byte, 32), Batch: make([]byte, 32)}
	for _, b := range [][]byte{k.Hash, k.Batch} {
		if _, err := io.ReadFull(random, b); err != nil {
			return err
		}
	}
	return store.PutJSON(tx, keysKey, k)
}

// rootPath is the path of a root token of the ceremonies.
const rootPath = "auth/token/root"

// InsertRoot makes a root token without an end in a transaction: the one that
// initialisation and root generation hand out. It needs no [Store], because at
// the cluster's birth there is none yet. id is its text, "" for a new one; a token
// of a chosen text looks like one that a root token has created.
func InsertRoot(tx store.Txn, c clock.Clock, random io.Reader, id string) (string, error) {
	k, err := store.GetJSON[keys](tx, keysKey)
	if err != nil {
		return "", fmt.Errorf("reading token keys: %w", err)
	}
	e := Entry{NS: store.RootNamespace, Policies: []string{policy.RootName}, Path: "auth/token/create", DisplayName: "token", Type: Service, Created: c.Now()}
	if id == "" {
		e.Path, e.DisplayName = rootPath, "root"
		if id, err = newRootID(random); err != nil {
			return "", err
		}
	}
	text, err := name(random, newHasher(k.Hash), &e, id)
	if err != nil {
		return "", err
	}
	if err := vacant(tx, e.Handle); err != nil {
		return "", err
	}
	return text, insert(tx, c, &e)
}

// New opens the noun over an initialised store.
func New(ctx context.Context, c Config) (*Store, error) {
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	s := &Store{Config: c, cache: newCache()}
	var k keys
	err := c.Store.View(ctx, func(r store.Reader) error {
		var err error
		k, err = store.GetJSON[keys](r, keysKey)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading token keys: %w", err)
	}
	s.hash = newHasher(k.Hash)
	if s.batch, err = newBatchSealer(k.Batch); err != nil {
		return nil, err
	}
	s.stop = c.Store.Watch(s.cache.watch)
	return s, nil
}

// Close ends the noun.
func (s *Store) Close() { s.stop() }

func tokenKey(handle string) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindToken, handle)
}

func accessorKey(accessor string) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindAccessor, accessor)
}

func childrenKey(parent string) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindTokenParent, parent)
}

// errBad is the one answer to a token that cannot be used, whatever the reason.
var errBad = fault.New(fault.Denied, "permission denied")

// Authenticate returns the record of a presented token. The error is
// [fault.Denied] for every token that cannot be used.
func (s *Store) Authenticate(ctx context.Context, text string) (*Entry, error) {
	e, err := s.Find(ctx, text)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errBad
	}
	return e, err
}

// Find returns the record of a usable token by its text, or
// [store.ErrNotFound].
func (s *Store) Find(ctx context.Context, text string) (*Entry, error) {
	if !wellFormed(text) {
		return nil, store.ErrNotFound
	}
	var e *Entry
	var err error
	if isBatch(text) {
		e, err = s.openBatch(ctx, text)
	} else {
		e, err = s.load(ctx, s.hash.sum(text))
	}
	if err != nil {
		return nil, err
	}
	if !e.usable(s.Clock.Now()) {
		return nil, store.ErrNotFound
	}
	return e, nil
}

// openBatch returns the record in a batch token. It ends with the token that
// made it: that is the only way to end it before its time.
func (s *Store) openBatch(ctx context.Context, text string) (*Entry, error) {
	e, err := s.batch.open(text)
	if err != nil || len(e.Parent) == 0 {
		return e, err
	}
	parent, err := s.load(ctx, string(e.Parent))
	if err != nil {
		return nil, err
	}
	if !parent.usableParent(s.Clock.Now()) {
		return nil, store.ErrNotFound
	}
	return e, nil
}

// Handle returns the handle of a token's text.
func (s *Store) Handle(text string) string { return s.hash.sum(text) }

// load returns a record by handle, from the cache or the store.
func (s *Store) load(ctx context.Context, handle string) (*Entry, error) {
	e, mark := s.cache.get(handle)
	if e != nil {
		return e, nil
	}
	return s.fetch(ctx, handle, mark)
}

// fetch reads a record that the cache lacks, and gives it the record.
func (s *Store) fetch(ctx context.Context, handle string, mark uint64) (e *Entry, err error) {
	err = s.Store.View(ctx, func(r store.Reader) error {
		var err error
		e, err = get(r, handle)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.cache.put(handle, e, mark)
	return e, nil
}

func get(r store.Reader, handle string) (*Entry, error) {
	b, err := r.Get(tokenKey(handle))
	if err != nil {
		return nil, err
	}
	e := new(Entry)
	if err := json.Unmarshal(b, e); err != nil {
		return nil, errors.New("decoding a token record: malformed")
	}
	e.Handle = handle
	return e, nil
}

func put(tx store.Txn, e *Entry) error { return store.PutJSON(tx, tokenKey(e.Handle), e) }

// ByAccessor returns the record that an accessor stands for, or
// [store.ErrNotFound].
func (s *Store) ByAccessor(ctx context.Context, accessor string) (*Entry, error) {
	var e *Entry
	err := s.Store.View(ctx, func(r store.Reader) error {
		handle, err := r.Get(accessorKey(accessor))
		if err != nil {
			return err
		}
		e, err = get(r, string(handle))
		return err
	})
	if err != nil {
		return nil, err
	}
	if !e.usable(s.Clock.Now()) {
		return nil, store.ErrNotFound
	}
	return e, nil
}

// Use counts one use of a token that has a use limit. It returns the record as
// it is after, and whether this was the last use: then the caller revokes the
// token when the request is done.
func (s *Store) Use(ctx context.Context, e *Entry) (after *Entry, last bool, err error) {
	if e.NumUses == 0 || e.Type == Batch {
		return e, false, nil
	}
	return s.countUse(ctx, e)
}

func (s *Store) countUse(ctx context.Context, e *Entry) (after *Entry, last bool, err error) {
	_, err = s.Store.Update(ctx, func(tx store.Txn) error {
		now, err := get(tx, e.Handle)
		if err != nil {
			return err
		}
		if !now.usable(s.Clock.Now()) {
			return store.ErrNotFound
		}
		if now.NumUses--; now.NumUses == 0 {
			now.NumUses = -1
		}
		after = now
		return put(tx, now)
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, false, errBad
	case err != nil:
		return nil, false, err
	}
	return after, after.NumUses < 0, nil
}

// seconds rounds a lifetime down to what the API can say.
func seconds(d time.Duration) time.Duration { return d.Truncate(time.Second) }
