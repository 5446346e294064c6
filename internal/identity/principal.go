package identity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/store"
)

// Principal is an entity with all that requests need of it: its groups' policies
// and the values of templates. It is immutable and shared.
type Principal struct {
	entity  *Entity
	aliases []*Alias
	groups  []*Group
	// groupIDs are the ids of groups, sorted.
	groupIDs []string
	policies []string
	// memberships are all that the entity has itself, also those that are not
	// in force.
	memberships []membership
	external    []External
	who         policy.Identity
	// into, if set, is the entity that this one was merged into; then the rest
	// is not there.
	into string

	unions atomic.Pointer[[]union]
}

// union is the policies of a token together with the entity's.
type union struct{ token, all []string }

// maxUnions is how many sets of token policies a principal keeps the union for.
const maxUnions = 8

// ID returns the id of the entity. It differs from the one that was asked for
// if that has been merged.
func (p *Principal) ID() string { return p.entity.ID }

// Disabled reports whether the entity is disabled.
func (p *Principal) Disabled() bool { return p.entity.Disabled }

// Policies are those of the entity and of its groups, sorted. The slice is
// shared.
func (p *Principal) Policies() []string { return p.policies }

// joinedBy reports whether logins at a mount have made the entity a member of any
// group.
func (p *Principal) joinedBy(accessor string) bool {
	return slices.ContainsFunc(p.memberships, func(m membership) bool { return m.via.Accessor == accessor })
}

// External are the policies that groups of another namespace give an entity. They
// hold in that namespace and below.
type External struct {
	NS       store.NamespaceID
	Policies []string // sorted
}

// External are the policies by groups of namespaces below the entity's, in the
// order of namespaces. The slice is shared.
func (p *Principal) External() []External { return p.external }

// Identity is whom templated policies are rendered for.
func (p *Principal) Identity() *policy.Identity { return &p.who }

// With returns the policies of a token, which are sorted, together with the
// entity's, sorted. The slice is shared.
func (p *Principal) With(token []string) []string {
	if len(p.policies) == 0 {
		return token
	}
	kept := p.unions.Load()
	if kept != nil {
		for _, u := range *kept {
			if slices.Equal(u.token, token) {
				return u.all
			}
		}
	}
	u := union{token: slices.Clone(token), all: slices.Concat(token, p.policies)}
	slices.Sort(u.all)
	u.all = slices.Compact(u.all)
	next := []union{u}
	if kept != nil && len(*kept) < maxUnions {
		next = append(next, *kept...)
	}
	p.unions.CompareAndSwap(kept, &next) // who loses the race computes it again
	return u.all
}

// Admit returns the principal of a token's entity. An entity that is gone or
// disabled is [fault.Denied].
func (s *Store) Admit(ctx context.Context, ns store.NamespaceID, entity string) (*Principal, error) {
	p, err := s.Principal(ctx, ns, entity)
	if errors.Is(err, store.ErrNotFound) || err == nil && p.Disabled() {
		return nil, errDenied
	}
	return p, err
}

// Principal returns the principal of an entity, or of the one that it was merged
// into; [store.ErrNotFound] if there is none.
func (s *Store) Principal(ctx context.Context, ns store.NamespaceID, entity string) (*Principal, error) {
	p, err := s.principal(ctx, ns, entity)
	if err == nil && p.into != "" {
		// No entity is merged into one that has been merged itself: the row
		// names the one that is left.
		if p, err = s.principal(ctx, ns, p.into); err == nil && p.into != "" {
			return nil, store.ErrNotFound
		}
	}
	return p, err
}

func (s *Store) principal(ctx context.Context, ns store.NamespaceID, entity string) (*Principal, error) {
	if p := s.cache.get(ns, entity); p != nil {
		return p, nil
	}
	mark := s.cache.mark(entity)
	var p *Principal
	err := s.read(ctx, ns, func(v view) (err error) {
		p, err = v.principal(entity)
		return err
	})
	if err != nil {
		return nil, err
	}
	// A number that no other state of the entity ever has: what was rendered
	// for another one is not found for this.
	p.who = policy.Identity{ID: entity, Revision: s.cache.revision.Add(1), Value: p.value}
	s.cache.put(ns, entity, p, mark)
	return p, nil
}

func (v view) principal(entity string) (*Principal, error) {
	p := &Principal{}
	var err error
	if p.entity, err = v.entity(entity); errors.Is(err, store.ErrNotFound) {
		p.into, err = v.survivor(entity)
		return p, err
	}
	if err != nil {
		return nil, err
	}
	if p.aliases, err = v.aliasesOf(entity); err != nil {
		return nil, err
	}
	if p.memberships, err = v.memberships(anEntity, entity); err != nil {
		return nil, err
	}
	direct, inherited, err := v.standingBy(p.memberships)
	if err != nil {
		return nil, err
	}
	p.groups = append(direct, inherited...)
	p.groupIDs = slices.Sorted(slices.Values(ids(p.groups)))
	by := map[store.NamespaceID][]string{v.ns: slices.Clone(p.entity.Policies)}
	for _, g := range p.groups {
		by[g.ns] = append(by[g.ns], g.Policies...)
	}
	for _, ns := range slices.Sorted(maps.Keys(by)) {
		list := by[ns]
		slices.Sort(list)
		list = slices.Compact(list)
		if slices.Contains(list, policy.RootName) {
			// No write lets it in, so the row is not what was written.
			return nil, fmt.Errorf("reading entity %q: a policy that no entity can hold", entity)
		}
		if ns == v.ns {
			p.policies = list
		} else if len(list) > 0 {
			p.external = append(p.external, External{ns, list})
		}
	}
	return p, nil
}

// value returns what a template's name stands for, and false if the entity has
// nothing there.
func (p *Principal) value(name string) (string, bool) {
	switch name {
	case "identity.entity.id":
		return p.entity.ID, true
	case "identity.entity.name":
		return p.entity.Name, true
	}
	if key, ok := strings.CutPrefix(name, "identity.entity.metadata."); ok {
		return pick(p.entity.Metadata, key)
	}
	if key, ok := strings.CutPrefix(name, "identity.entity.aliases."); ok {
		return p.aliasValue(key)
	}
	if key, ok := strings.CutPrefix(name, "identity.groups.ids."); ok {
		return p.groupValue(key, (*Group).id)
	}
	if key, ok := strings.CutPrefix(name, "identity.groups.names."); ok {
		return p.groupValue(key, (*Group).name)
	}
	return "", false
}

func (g *Group) id() string   { return g.ID }
func (g *Group) name() string { return g.Name }

func pick(m map[string]string, key string) (string, bool) {
	v, ok := m[key]
	return v, ok
}

// aliasValue reads "<accessor>.<attribute>": of the alias at that mount alone.
func (p *Principal) aliasValue(key string) (string, bool) {
	accessor, attribute, _ := strings.Cut(key, ".")
	i := slices.IndexFunc(p.aliases, func(a *Alias) bool { return a.Accessor == accessor })
	if i < 0 {
		return "", false
	}
	a := p.aliases[i]
	switch attribute {
	case "id":
		return a.ID, true
	case "name":
		return a.Name, true
	}
	if key, ok := strings.CutPrefix(attribute, "metadata."); ok {
		return pick(a.Metadata, key)
	}
	if key, ok := strings.CutPrefix(attribute, "custom_metadata."); ok {
		return pick(a.Custom, key)
	}
	return "", false
}

// groupValue reads "<group>.<attribute>" of a group that the entity is in. Names
// may have dots: if more than one group could be meant, none is.
func (p *Principal) groupValue(key string, label func(*Group) string) (value string, ok bool) {
	n := 0
	for _, g := range p.groups {
		attribute, found := strings.CutPrefix(key, label(g)+".")
		if !found {
			continue
		}
		v, has := g.attribute(attribute)
		if has {
			value, ok = v, true
			n++
		}
	}
	return value, ok && n == 1
}

func (g *Group) attribute(name string) (string, bool) {
	switch name {
	case "id":
		return g.ID, true
	case "name":
		return g.Name, true
	}
	if key, ok := strings.CutPrefix(name, "metadata."); ok {
		return pick(g.Metadata, key)
	}
	return "", false
}
