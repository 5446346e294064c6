package policy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Holder is who holds policies: what it takes to find a token's ACL.
type Holder struct {
	// Namespace is the token's own.
	Namespace store.NamespaceID
	// Policies are all that apply, sorted.
	Policies []string
	// Identity is nil for a token without an entity.
	Identity *Identity
	// At is where the call's namespace lies, as seen from the token's.
	At Below
	// Groups are the policies that groups of other namespaces give it.
	Groups []GroupPolicies
}

// GroupPolicies are the policies of a namespace's groups for a member from
// another one. They hold in that namespace and below.
type GroupPolicies struct {
	Namespace store.NamespaceID
	Policies  []string // sorted
	At        Below
}

// Tokens looks up the tokens that the capabilities endpoints are asked about.
// Both methods return an error that is [fault.NotFound] for a token that is
// not there, cannot be used, or is not of the call's namespace.
type Tokens interface {
	HolderByToken(ctx context.Context, c *route.Call, text string) (Holder, error)
	HolderByAccessor(ctx context.Context, c *route.Call, accessor string) (Holder, error)
}

// Config is what a [Store] needs.
type Config struct {
	Store store.Store
	Clock clock.Clock
	Log   *slog.Logger
	// Rand is the source of passwords, that of crypto/rand if nil.
	Rand io.Reader
	// Tokens finds other tokens than the caller's.
	Tokens Tokens
	// Caller returns the holder that makes a call. If it is nil, that is the
	// caller's policies, in the caller's namespace and without an identity.
	Caller func(ctx context.Context, c *route.Call) (Holder, error)
}

// Store is the policy noun: every namespace's ACL policies in memory, kept
// right by the change feed, and the password policies.
type Store struct {
	Config
	view     *view
	acls     *aclCache
	builtins map[string]*Policy
	password *PasswordPolicy // where none is named
	stop     func()
}

// row is an ACL policy at rest, by namespace and name.
type row struct {
	Text        string    `json:"text"`
	Version     int       `json:"version"`
	Modified    time.Time `json:"modified"`
	CASRequired bool      `json:"cas_required,omitempty"`
	// Expires is when the policy stops to exist; zero is never.
	Expires time.Time `json:"expires,omitzero"`
	// Seen is the latest namespace that was there when it was written, see
	// [Below].
	Seen store.NamespaceID `json:"seen,omitempty"`
}

func (r *row) expired(now time.Time) bool { return !r.Expires.IsZero() && !now.Before(r.Expires) }

func aclKey(ns store.NamespaceID, name string) store.Key {
	return store.NewKey(ns, store.System, store.KindPolicy, name)
}

// Init writes the default policy at the birth of a namespace, of which the
// cluster's is that of the root namespace. It does nothing if there is one.
func Init(tx store.Txn, ns store.NamespaceID, now time.Time) error {
	key := aclKey(ns, DefaultName)
	if ok, err := store.Exists(tx, key); err != nil || ok {
		return err
	}
	return store.PutJSON(tx, key, row{Text: DefaultText, Version: 1, Modified: now})
}

// New opens the noun over an initialised store. The root namespace is read
// now, another one when it is first needed.
func New(ctx context.Context, c Config) (*Store, error) {
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	s := &Store{
		Config: c, acls: newACLCache(), password: DefaultPassword(),
		builtins: map[string]*Policy{ResponseWrappingName: ResponseWrapping()},
	}
	s.view = newView(c.Store, c.Log, s.acls)
	// Watching before reading: a change in between is seen and not overwritten.
	s.stop = c.Store.Watch(s.view.watch)
	if err := s.view.load(ctx, store.RootNamespace); err != nil {
		s.stop()
		return nil, fmt.Errorf("reading policies: %w", err)
	}
	return s, nil
}

// Close ends the noun.
func (s *Store) Close() { s.stop() }

// Exists reports whether an ACL policy is there. The answer words warnings and
// decides nothing.
func (s *Store) Exists(ns store.NamespaceID, name string) bool {
	if s.builtin(ns, name) != nil {
		return true
	}
	// No request's context gets here, and the read is from this node.
	p, err := s.view.get(context.Background(), ns, name)
	return err == nil && !p.expired(s.Clock.Now())
}

// builtin returns a policy that exists without a row, or nil. The root policy
// is the root namespace's alone.
func (s *Store) builtin(ns store.NamespaceID, name string) *Policy {
	if IsRootName(name) {
		if ns == store.RootNamespace {
			return Root()
		}
		return nil
	}
	return s.builtins[name]
}

// ACL returns what the named policies grant together to a caller in a token's
// namespace. A policy that is not there grants nothing. One that cannot be
// parsed, or not be rendered for the identity, makes the whole call fail: the
// rules that it would have denied with are not known.
//
// The names are those of the token, sorted and canonical; who is nil for a
// token without an identity. The ACL is shared and stays as it is; ask anew
// for each request. That is cheap: while no policy of the set changes it costs
// a look into a cache, without allocation.
func (s *Store) ACL(ctx context.Context, ns store.NamespaceID, names []string, who *Identity) (*ACL, error) {
	if c := s.acls.get(ns, names, who); c != nil && (c.until.IsZero() || s.Clock.Now().Before(c.until)) {
		return c.acl, c.err
	}
	set, err := s.resolve(ctx, ns, names)
	if err != nil {
		return nil, err
	}
	if !set.templated {
		who = nil
	}
	c := &compiled{ns: ns, names: slices.Clone(names), who: who.key(), templated: set.templated, until: set.until}
	if c.acl, c.err = set.compile(who, s.Clock.Now()); c.err != nil {
		s.Log.Warn("the policies of a token do not compile; its requests are refused", "namespace", ns, "policies", names, "error", c.err)
	} else {
		c.until = earlier(c.until, c.acl.Expires())
	}
	s.acls.put(c, &s.view.revision, set.revision)
	return c.acl, c.err
}

// policySet is the policies of a token as they stand at one revision.
type policySet struct {
	policies  []*Policy
	templated bool
	until     time.Time // when the first policy as a whole expires
	revision  uint64
}

// resolve finds and parses the named policies.
func (s *Store) resolve(ctx context.Context, ns store.NamespaceID, names []string) (policySet, error) {
	found, revision, err := s.view.collect(ctx, ns, names)
	if err != nil {
		return policySet{}, err
	}
	set, now := policySet{revision: revision}, s.Clock.Now()
	for i, name := range names {
		p := s.builtin(ns, name)
		if p == nil {
			if found[i] == nil || found[i].expired(now) {
				continue
			}
			if p, err = found[i].policy(); err != nil {
				return policySet{}, err
			}
			set.until = earlier(set.until, found[i].Expires)
		}
		set.policies = append(set.policies, p)
		set.templated = set.templated || p.Templated()
	}
	return set, nil
}

// compile renders the policies for an identity and joins them.
func (set *policySet) compile(who *Identity, now time.Time) (*ACL, error) {
	rendered := make([]*Policy, len(set.policies))
	for i, p := range set.policies {
		var err error
		if rendered[i], err = p.Render(who.value); err != nil {
			return nil, err
		}
	}
	return Compile(rendered, now)
}

// earlier returns the earlier of two times, of which the zero time is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// callerRights returns what who makes the call may do.
func (s *Store) callerRights(ctx context.Context, c *route.Call) (Rights, error) {
	holder := Holder{Namespace: c.Caller.Namespace, Policies: c.Caller.Policies, At: Below{Prefix: c.Caller.Prefix, IDs: c.Caller.Below}}
	if c.Caller.Root {
		holder.Namespace, holder.Policies = store.RootNamespace, []string{RootName}
	} else if s.Caller != nil {
		var err error
		if holder, err = s.Caller(ctx, c); err != nil {
			return Rights{}, err
		}
	}
	return s.Rights(ctx, holder)
}

// Rights returns what a holder may do in the call's namespace.
func (s *Store) Rights(ctx context.Context, h Holder) (Rights, error) {
	acl, err := s.ACL(ctx, h.Namespace, h.Policies, h.Identity)
	if err != nil {
		return Rights{}, err
	}
	rights := acl.In(h.At)
	for _, g := range h.Groups {
		if acl, err = s.ACL(ctx, g.Namespace, g.Policies, h.Identity); err != nil {
			return Rights{}, err
		}
		rights = rights.With(acl.In(g.At))
	}
	return rights, nil
}

// errNotFound is the answer for a policy that is not there: 404 with an empty
// list of errors.
var errNotFound = fault.New(fault.NotFound, "")

func isNotFound(err error) bool { return errors.Is(err, fault.NotFound) }
