package token

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Create makes a token from a record without handle, accessor and times. id is
// the text to use, "" for a new one. also, if not nil, writes in the same
// transaction and may set the entity.
func (s *Store) Create(ctx context.Context, e Entry, id string, also func(store.Txn, *Entry) error) (*Entry, string, error) {
	if err := s.check(&e); err != nil {
		return nil, "", err
	}
	now := s.Clock.Now()
	e.Created = now
	if e.TTL > 0 {
		e.Expires = now.Add(e.TTL)
	}
	if e.Type == Batch {
		return s.createBatch(ctx, e, also)
	}
	text, err := s.name(&e, id)
	if err != nil {
		return nil, "", err
	}
	if _, err := s.Store.Update(ctx, func(tx store.Txn) error {
		if also != nil {
			if err := also(tx, &e); err != nil {
				return err
			}
		}
		if id != "" {
			if err := vacant(tx, e.Handle); err != nil {
				return err
			}
		}
		return s.insert(tx, &e)
	}); err != nil {
		return nil, "", err
	}
	return &e, text, nil
}

// Insert is [Store.Create] for a service token within a transaction that is
// already under way.
func (s *Store) Insert(tx store.Txn, e Entry) (*Entry, string, error) {
	if err := s.check(&e); err != nil {
		return nil, "", err
	}
	e.Created = s.Clock.Now()
	if e.TTL > 0 {
		e.Expires = e.Created.Add(e.TTL)
	}
	text, err := s.name(&e, "")
	if err != nil {
		return nil, "", err
	}
	return &e, text, s.insert(tx, &e)
}

func (s *Store) name(e *Entry, id string) (string, error) { return name(s.Rand, s.hash, e, id) }

// name gives a new token its text, its handle and its accessor.
func name(random io.Reader, h *hasher, e *Entry, id string) (text string, err error) {
	text = id
	if text == "" {
		if text, err = newID(random); err != nil {
			return "", err
		}
	}
	e.Handle = h.sum(text)
	e.Accessor, err = randomText(random, 18, 24)
	return text, err
}

// check refuses a record that would live for ever by accident.
func (s *Store) check(e *Entry) error {
	e.TTL = seconds(e.TTL)
	if e.TTL <= 0 && !e.Root() {
		return errors.New("creating a token: no lifetime")
	}
	if !slices.IsSorted(e.Policies) {
		e.Policies = slices.Sorted(slices.Values(e.Policies))
	}
	return nil
}

func (s *Store) createBatch(ctx context.Context, e Entry, also func(store.Txn, *Entry) error) (*Entry, string, error) {
	// Batch tokens end on whole seconds, as their record shows them.
	e.Created = e.Created.Truncate(time.Second)
	e.Expires = e.Created.Add(e.TTL)
	e.Renewable = false
	if also != nil {
		if _, err := s.Store.Update(ctx, func(tx store.Txn) error { return also(tx, &e) }); err != nil {
			return nil, "", err
		}
	}
	text, err := s.batch.seal(&e)
	return &e, text, err
}

// vacant refuses a handle that is taken. Only a chosen text can have one: two
// random ones do not meet, and a look for what is not there costs more than all
// the other reads of a creation together.
func vacant(tx store.Txn, handle string) error {
	taken, err := store.Exists(tx, tokenKey(handle))
	if err != nil {
		return err
	}
	if taken {
		return fault.New(fault.Invalid, "cannot create a token with a duplicate ID")
	}
	return nil
}

func (s *Store) insert(tx store.Txn, e *Entry) error { return insert(tx, s.Clock, e) }

func insert(tx store.Txn, c clock.Clock, e *Entry) error {
	if len(e.Parent) > 0 {
		parent, err := get(tx, string(e.Parent))
		if errors.Is(err, store.ErrNotFound) || err == nil && !parent.usableParent(c.Now()) {
			return errBad // the parent was revoked meanwhile
		}
		if err != nil {
			return err
		}
		if err := tx.Put(childrenKey(string(e.Parent)).Append(e.Handle), nil); err != nil {
			return err
		}
	}
	if err := put(tx, e); err != nil {
		return err
	}
	if err := tx.Put(accessorKey(e.Accessor), []byte(e.Handle)); err != nil {
		return err
	}
	if e.Expires.IsZero() {
		return nil
	}
	if err := lease.PutToken(tx, e.NS, e.Path, e.Handle); err != nil {
		return err
	}
	return expiry.Put(tx, due(e))
}

// usableParent is usable, but also in the middle of a last use.
func (e *Entry) usableParent(now time.Time) bool {
	if e.NumUses < 0 {
		alive := *e
		alive.NumUses = 1
		return alive.usable(now)
	}
	return e.usable(now)
}

func due(e *Entry) expiry.Item {
	return expiry.Item{Queue: store.System, Class: expiry.Token, ID: e.Handle, At: e.Expires}
}

// Login makes the token that an auth method's identity gets. also, if not nil,
// writes in the same transaction what the method stores, and may set the
// entity. tokenType is the mount's setting.
func (s *Store) Login(ctx context.Context, c *route.Call, id *route.Identity, entity, tokenType string, also func(store.Txn, *Entry) error) (*route.Auth, *Entry, error) {
	e, err := s.loginEntry(c, id, tokenType)
	if err != nil {
		return nil, nil, err
	}
	e.EntityID = entity
	entry, text, err := s.Create(ctx, e, "", s.whileServing(c.Mount, also))
	if err != nil {
		return nil, nil, err
	}
	return entry.auth(text, entry.Created), entry, nil
}

// whileServing has also run only if the mount is in service as it commits.
func (s *Store) whileServing(m route.Mount, also func(store.Txn, *Entry) error) func(store.Txn, *Entry) error {
	if s.Serving == nil {
		return also
	}
	return func(tx store.Txn, e *Entry) error {
		if err := s.Serving(tx, m); err != nil || also == nil {
			return err
		}
		return also(tx, e)
	}
}

func (s *Store) loginEntry(c *route.Call, id *route.Identity, tokenType string) (Entry, error) {
	p := id.Token
	e := Entry{
		NS: c.Namespace.ID, Path: c.Full, Meta: id.Metadata, DisplayName: displayName(c.Namespace.Path, c.Mount.Path, id.DisplayName),
		NumUses: p.NumUses, ExplicitMaxTTL: p.ExplicitMaxTTL, Period: p.Period, Renewable: !id.NoRenew, BoundCIDRs: p.BoundCIDRs,
		Mount: c.Mount.ID, Payload: id.Payload, Type: kindOf(p.Type, tokenType), NoDefaultPolicy: p.NoDefaultPolicy,
	}
	if p.StrictlyBindIP && c.Remote.IsValid() {
		e.BoundCIDRs = []string{c.Remote.Unmap().String()}
	}
	e.TTL = startTTL(p, c.Mount)
	policies, err := authn.CleanPolicies(p.Policies)
	if err != nil {
		return e, err
	}
	if slices.Contains(policies, policy.RootName) {
		return e, fault.New(fault.Invalid, "auth methods cannot create root tokens")
	}
	e.Policies = policies
	if !p.NoDefaultPolicy && !slices.Contains(policies, policy.DefaultName) {
		e.Policies = append(e.Policies, policy.DefaultName)
	}
	slices.Sort(e.Policies)
	if e.Type == Batch && (e.NumUses > 0 || e.Period > 0) {
		return e, fault.New(fault.Invalid, "a batch token can have neither a use limit nor a period")
	}
	return e, nil
}

// kindOf decides service or batch from the role's and the mount's settings.
func kindOf(role, mount string) string {
	switch role {
	case Service, Batch:
		return role
	}
	switch mount {
	case Service, Batch:
		return mount
	}
	if role == "default-batch" || (role == "" || role == "default") && mount == "default-batch" {
		return Batch
	}
	return Service
}

// startTTL is the first lifetime of a token with these settings at a mount.
func startTTL(p route.TokenParams, m route.Mount) time.Duration {
	if p.Period > 0 {
		return capBy(p.Period, p.ExplicitMaxTTL, 0)
	}
	ttl := p.TTL
	if ttl == 0 {
		ttl = m.DefaultTTL
	}
	return capBy(ttl, p.ExplicitMaxTTL, minSet(p.MaxTTL, m.MaxTTL))
}

// capBy returns d, but no more than each limit that is set.
func capBy(d time.Duration, limits ...time.Duration) time.Duration {
	for _, l := range limits {
		if l > 0 && d > l {
			d = l
		}
	}
	return d
}

func minSet(a, b time.Duration) time.Duration {
	switch {
	case a <= 0:
		return b
	case b <= 0:
		return a
	}
	return min(a, b)
}

// displayName is the mount's name and what the method calls the user. Below the
// root it is the whole path of the mount, as clients know it.
func displayName(namespace, mountPath, name string) string {
	if namespace == "" {
		mountPath = strings.TrimPrefix(mountPath, "auth/")
	}
	mount := strings.ReplaceAll(strings.TrimSuffix(namespace+mountPath, "/"), "/", "-")
	if name == "" {
		return mount
	}
	return mount + "-" + name
}
