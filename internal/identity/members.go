package identity

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// membership is one group that an entity or group is a member of.
type membership struct {
	group string
	ns    store.NamespaceID // the group's
	via   via
}

// memberships returns the groups of a member, in the order of ids, also those
// whose mapping has changed since.
func (v view) memberships(kind, member string) ([]membership, error) {
	var list []membership
	for e, err := range v.r.Scan(store.Under(v.index(groupsOf, kind, member))) {
		if err != nil {
			return nil, err
		}
		m := membership{group: e.Key.Last()}
		if m.via, err = decodeVia(e.Value); err != nil {
			return nil, err
		}
		m.ns = v.place(m.via)
		list = append(list, m)
	}
	return list, nil
}

// place returns the namespace of the other side of a membership.
func (v view) place(by via) store.NamespaceID {
	if by.NS != 0 {
		return by.NS
	}
	return v.ns
}

func decodeVia(value []byte) (v via, err error) {
	if len(value) == 0 {
		return v, nil
	}
	if json.Unmarshal(value, &v) != nil {
		return v, errors.New("decoding a membership: malformed")
	}
	return v, nil
}

// counts reports whether a membership of g is in force: of an external group,
// only one that came by its present mapping.
func (m *membership) counts(g *Group) bool {
	if g.Type != external {
		return true
	}
	return g.Alias != nil && m.via.Mapping == g.Alias.Mapping
}

// member is one side of a membership.
type member struct {
	id string
	ns store.NamespaceID
}

// members returns the ids of a group's members of a kind that count.
func (v view) members(g *Group, kind string) ([]string, error) {
	found, err := v.membersOf(g, kind)
	list := make([]string, len(found))
	for i, m := range found {
		list[i] = m.id
	}
	return list, err
}

// membersOf is members with the members' namespaces.
func (v view) membersOf(g *Group, kind string) ([]member, error) {
	var list []member
	for e, err := range v.r.Scan(store.Under(v.index(membersOf, g.ID, kind))) {
		if err != nil {
			return nil, err
		}
		m := membership{group: g.ID}
		if m.via, err = decodeVia(e.Value); err != nil {
			return nil, err
		}
		if m.counts(g) {
			list = append(list, member{e.Key.Last(), v.place(m.via)})
		}
	}
	return list, nil
}

// parents returns the groups that have a group as a member.
func (v view) parents(group string) ([]string, error) {
	list, err := v.memberships(aGroup, group)
	if err != nil {
		return nil, err
	}
	parents := make([]string, len(list))
	for i, m := range list {
		parents[i] = m.group
	}
	return parents, nil
}

// standing returns the groups that an entity is a member of: directly, and
// through other groups.
func (v view) standing(entity string) (direct, inherited []*Group, err error) {
	list, err := v.memberships(anEntity, entity)
	if err != nil {
		return nil, nil, err
	}
	return v.standingBy(list)
}

// standingBy is standing for an entity with these memberships.
func (v view) standingBy(list []membership) (direct, inherited []*Group, err error) {
	seen := map[string]bool{}
	for _, m := range list {
		g, err := v.in(m.ns).group(m.group)
		if err != nil {
			return nil, nil, err
		}
		if m.counts(g) {
			seen[g.ID] = true
			direct = append(direct, g)
		}
	}
	for next := slices.Clone(direct); len(next) > 0; next = next[1:] {
		parents, err := v.in(next[0].ns).memberships(aGroup, next[0].ID)
		if err != nil {
			return nil, nil, err
		}
		for _, m := range parents {
			if seen[m.group] {
				continue
			}
			seen[m.group] = true
			g, err := v.in(m.ns).group(m.group)
			if err != nil {
				return nil, nil, err
			}
			inherited = append(inherited, g)
			next = append(next, g)
		}
	}
	return direct, inherited, nil
}

// ascend returns a group and every group that it is a member of, at any depth.
func (v view) ascend(group string) (map[string]bool, error) {
	seen := map[string]bool{group: true}
	for next := []member{{group, v.ns}}; len(next) > 0; next = next[1:] {
		parents, err := v.in(next[0].ns).memberships(aGroup, next[0].id)
		if err != nil {
			return nil, err
		}
		for _, m := range parents {
			if !seen[m.group] {
				seen[m.group] = true
				next = append(next, member{m.group, m.ns})
			}
		}
	}
	return seen, nil
}

// join makes what a member names a member of a group of this namespace.
func (e edit) join(group, kind string, m member, by via) error {
	here, there := by, by
	here.NS, there.NS = 0, 0
	if m.ns != e.ns {
		here.NS, there.NS = m.ns, e.ns
	}
	if err := e.putVia(e.index(membersOf, group, kind, m.id), here); err != nil {
		return err
	}
	return e.putVia(e.in(m.ns).index(groupsOf, kind, m.id, group), there)
}

func (e edit) putVia(key store.Key, by via) error {
	if by == (via{}) {
		return e.tx.Put(key, []byte{})
	}
	return store.PutJSON(e.tx, key, by)
}

func (e edit) leave(group, kind string, m member) error {
	return e.drop(e.index(membersOf, group, kind, m.id), e.in(m.ns).index(groupsOf, kind, m.id, group))
}

// locate returns the namespace of something that may be a member: this one, or
// one above it. A namespace below has no say in the groups of this one.
func (e edit) locate(kind store.Kind, id string) (store.NamespaceID, error) {
	for _, ns := range append([]store.NamespaceID{e.ns}, e.above...) {
		if ok, err := store.Exists(e.r, e.in(ns).key(kind, id)); err != nil || ok {
			return ns, err
		}
	}
	return 0, store.ErrNotFound
}

// setEntities makes the entities of a group exactly those given.
func (e edit) setEntities(g *Group, want []string) error {
	return e.setMembers(g, anEntity, want, func(id string) (store.NamespaceID, error) {
		ns, err := e.locate(store.KindEntity, id)
		return ns, absent(err, fault.Newf(fault.Invalid, "invalid entity id %q: there is no such entity", clip(id)))
	}, nil)
}

// setGroups makes the groups in a group exactly those given.
func (e edit) setGroups(g *Group, want []string) error {
	above, err := e.ascend(g.ID)
	if err != nil {
		return err
	}
	return e.setMembers(g, aGroup, want, func(id string) (store.NamespaceID, error) {
		if above[id] {
			return 0, fault.Newf(fault.Invalid, "group %q cannot be a member: it would be a member of itself", clip(id))
		}
		ns, err := e.locate(store.KindGroup, id)
		return ns, absent(err, fault.Newf(fault.Invalid, "invalid group id %q: there is no such group", clip(id)))
	}, e.touch)
}

// touch notes that a group's place among the groups has changed.
func (e edit) touch(m member) error {
	there := e.in(m.ns)
	g, err := there.group(m.id)
	if err != nil {
		return err
	}
	return there.putGroup(g)
}

func (e edit) setMembers(g *Group, kind string, want []string, find func(id string) (store.NamespaceID, error), touch func(member) error) error {
	have, err := e.membersOf(g, kind)
	if err != nil {
		return err
	}
	want = slices.Compact(slices.Sorted(slices.Values(want)))
	present := make(map[string]bool, len(have))
	for _, m := range have {
		present[m.id] = true
		if _, stays := slices.BinarySearch(want, m.id); stays {
			continue
		}
		if err := e.leave(g.ID, kind, m); err != nil {
			return err
		}
		if touch != nil {
			if err := touch(m); err != nil {
				return err
			}
		}
	}
	for _, id := range want {
		if present[id] {
			continue
		}
		ns, err := find(id)
		if err != nil {
			return err
		}
		m := member{id, ns}
		if err := e.join(g.ID, kind, m, via{}); err != nil {
			return err
		}
		if touch != nil {
			if err := touch(m); err != nil {
				return err
			}
		}
	}
	return nil
}
