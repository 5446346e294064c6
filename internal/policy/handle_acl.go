package policy

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// canonical returns the name of the policy that a request means. Names know no
// upper case, so a name in capitals is another's path by a second spelling. It
// counts only if one rule decides over both paths: a rule about the policy
// must not be got around by writing its name in capitals.
func (s *Store) canonical(ctx context.Context, c *route.Call, given string) (string, error) {
	name, err := CheckName(given)
	if err != nil || name == given {
		return name, err
	}
	rights, err := s.callerRights(ctx, c)
	if err != nil {
		return "", err
	}
	base, ok := strings.CutSuffix(c.Full, given)
	if !ok || !rights.sameRule(base+given, base+name) {
		return "", fault.New(fault.Denied, "permission denied")
	}
	return name, nil
}

// writable returns the canonical name of a policy that clients may change.
func (s *Store) writable(ctx context.Context, c *route.Call, given string) (string, error) {
	name, err := s.canonical(ctx, c, given)
	switch {
	case err != nil:
		return "", err
	case IsRootName(name) || IsReserved(name):
		return "", fault.Newf(fault.Invalid, "the policy %q is built in and cannot be changed", name)
	}
	return name, nil
}

func (s *Store) listACL(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	list, err := s.listACLDetails(ctx, c, noInput{})
	return route.Keys{Keys: list.Keys}, err
}

func (s *Store) listACLDetails(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	all, err := s.view.list(ctx, c.Namespace.ID)
	if err != nil {
		return route.Keys{}, err
	}
	list := route.Keys{Keys: make([]string, 0, len(all)+1), Info: make(map[string]any, len(all)+1)}
	add := func(f facts) {
		list.Keys = append(list.Keys, f.Name)
		list.Info[f.Name] = f
	}
	root := c.Namespace.ID == store.RootNamespace
	for _, p := range all {
		if p.expired(c.Now) {
			continue
		}
		if root && p.name > RootName {
			add(facts{Name: RootName})
			root = false
		}
		add(p.facts(p.name))
	}
	if root {
		add(facts{Name: RootName})
	}
	return list, nil
}

func (s *Store) listLegacy(ctx context.Context, c *route.Call, _ noInput) (*route.Reply, error) {
	list, err := s.listACL(ctx, c, noInput{})
	if err != nil {
		return nil, err
	}
	return route.Data(legacyList{Keys: list.Keys, Policies: list.Keys})
}

func (r *row) facts(name string) facts {
	f := facts{Name: name, Version: r.Version, Modified: &r.Modified, CASRequired: r.CASRequired}
	if !r.Expires.IsZero() {
		f.Expiration = &r.Expires
	}
	return f
}

func (s *Store) readACL(ctx context.Context, c *route.Call, in nameRequest) (aclAnswer, error) {
	name, err := s.canonical(ctx, c, in.Name)
	if err != nil {
		return aclAnswer{}, err
	}
	if s.builtin(c.Namespace.ID, name) != nil {
		return aclAnswer{facts: facts{Name: name}, Policy: builtinText(name)}, nil
	}
	p, err := s.view.get(ctx, c.Namespace.ID, name)
	switch {
	case err != nil:
		return aclAnswer{}, err
	case p.damaged:
		return aclAnswer{}, fault.Newf(fault.Internal, "the stored policy %q is damaged; delete it and write it anew", name)
	case p.expired(c.Now):
		return aclAnswer{}, errNotFound
	}
	return aclAnswer{facts: p.facts(name), Policy: p.Text}, nil
}

func (s *Store) readLegacy(ctx context.Context, c *route.Call, in nameRequest) (legacyAnswer, error) {
	a, err := s.readACL(ctx, c, in)
	return legacyAnswer{facts: a.facts, Rules: a.Policy}, err
}

func (s *Store) writeACL(ctx context.Context, c *route.Call, in writeRequest) (route.None, error) {
	if in.Policy.Value == "" {
		return route.None{}, fault.New(fault.Invalid, `the parameter "policy" is missing or empty`)
	}
	return s.write(ctx, c, in, false)
}

func (s *Store) writeLegacy(ctx context.Context, c *route.Call, in legacyWriteRequest) (route.None, error) {
	if in.Policy.Value == "" {
		in.Policy = wire.Some(in.Rules)
	}
	return s.writeACL(ctx, c, in.writeRequest)
}

func (s *Store) patchACL(ctx context.Context, c *route.Call, in writeRequest) (route.None, error) {
	if in.Policy.Set && in.Policy.Value == "" {
		return route.None{}, fault.New(fault.Invalid, `the parameter "policy" is empty`)
	}
	return s.write(ctx, c, in, true)
}

// write stores a policy. A patch keeps what the request does not speak of.
func (s *Store) write(ctx context.Context, c *route.Call, in writeRequest, patch bool) (route.None, error) {
	name, err := s.writable(ctx, c, in.Name)
	if err != nil {
		return route.None{}, err
	}
	expires, err := in.expires(c.Now)
	switch {
	case err != nil:
		return route.None{}, err
	case name == DefaultName && !expires.IsZero():
		return route.None{}, fault.New(fault.Invalid, "the default policy cannot expire")
	case in.AllowSlashes || in.AllowWildcards:
		return route.None{}, fault.New(fault.Invalid, "a value in a templated path is always plain text within its segment; no policy can allow more")
	}
	text := DecodeText(in.Policy.Value)
	if in.Policy.Set {
		_, warnings, err := Parse(name, text)
		if err != nil {
			return route.None{}, err
		}
		warn(c, warnings)
	}
	if name != in.Name {
		c.Warn("The policy name was converted to lower case: " + name)
	}
	swept, err := s.view.expired(ctx, c.Namespace.ID, c.Now, maxSwept)
	if err != nil {
		return route.None{}, err
	}
	_, err = s.Store.Update(ctx, func(tx store.Txn) error {
		if err := sweep(tx, c.Namespace.ID, swept, c.Now); err != nil {
			return err
		}
		p, err := current(tx, aclKey(c.Namespace.ID, name), c.Now)
		if err != nil {
			return err
		}
		if err := in.checkVersion(p); err != nil {
			return err
		}
		if patch && p.Version == 0 {
			return fault.Newf(fault.NotFound, "there is no policy %q to patch", name)
		}
		if in.Policy.Set {
			p.Text = text
			if p.Seen, err = namespace.Latest(tx); err != nil {
				return err
			}
		}
		if in.CASRequired.Set || !patch {
			p.CASRequired = in.CASRequired.Value
		}
		if !expires.IsZero() || !patch {
			p.Expires = expires
		}
		p.Version++
		p.Modified = c.Now
		return store.PutJSON(tx, aclKey(c.Namespace.ID, name), p)
	})
	return route.None{}, err
}

// current returns the policy that is in the store; version zero is none.
func current(r store.Reader, key store.Key, now time.Time) (row, error) {
	p, err := store.GetJSON[row](r, key)
	if errors.Is(err, store.ErrNotFound) || err == nil && p.expired(now) {
		return row{}, nil
	}
	return p, err
}

// maxSwept is how many expired policies a write removes on its way. They are
// out of force since they expired; this is for the space they take.
const maxSwept = 16

func sweep(tx store.Txn, ns store.NamespaceID, names []string, now time.Time) error {
	for _, name := range names {
		// Somebody may have written it anew since.
		if p, err := current(tx, aclKey(ns, name), now); err != nil || p.Version != 0 {
			continue
		}
		if err := tx.Delete(aclKey(ns, name)); err != nil {
			return err
		}
	}
	return nil
}

// warn tells what is suspicious about a policy.
func warn(c *route.Call, warnings []Warning) {
	for _, w := range warnings {
		if w.Severity == Suspicious {
			c.Warn(w.String())
		}
	}
}

// checkVersion compares the version that the writer expects.
func (set *settings) checkVersion(p row) error {
	switch {
	case !set.CAS.Set && p.CASRequired:
		return fault.New(fault.Invalid, "check-and-set parameter required for this call")
	case !set.CAS.Set:
		return nil
	case max(set.CAS.Value, 0) != p.Version:
		return fault.New(fault.Invalid, "check-and-set parameter did not match the current version")
	}
	return nil
}

// expires returns when the policy is to end, zero if never or not said.
func (set *settings) expires(now time.Time) (time.Time, error) {
	text, err := wire.ParseString(set.Expiration)
	if err != nil {
		return time.Time{}, fault.Newf(fault.Invalid, "field \"expiration\": %s", err)
	}
	switch {
	case set.TTL < 0:
		return time.Time{}, fault.New(fault.Invalid, `the parameter "ttl" must not be negative`)
	case text != "" && set.TTL != 0:
		return time.Time{}, fault.New(fault.Invalid, `give either "ttl" or "expiration"`)
	case set.TTL != 0:
		return now.Add(set.TTL.D()), nil
	case text == "":
		return time.Time{}, nil
	}
	kind := kindString
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		kind = kindNumber
	}
	at, problem := readTime(value{kind: kind, text: text})
	if problem != "" {
		return time.Time{}, fault.Newf(fault.Invalid, "field \"expiration\": %s", problem)
	}
	if !at.After(now) {
		return time.Time{}, fault.New(fault.Invalid, `field "expiration": is in the past`)
	}
	return at, nil
}

func (s *Store) deleteACL(ctx context.Context, c *route.Call, in nameRequest) (route.None, error) {
	name, err := s.writable(ctx, c, in.Name)
	if err != nil {
		return route.None{}, err
	}
	if name == DefaultName {
		return route.None{}, fault.New(fault.Invalid, "the default policy cannot be deleted")
	}
	_, err = s.Store.Update(ctx, func(tx store.Txn) error { return tx.Delete(aclKey(c.Namespace.ID, name)) })
	return route.None{}, err
}
