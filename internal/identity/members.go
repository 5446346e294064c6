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
		list = append(list, m)
	}
	return list, nil
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

// members returns the ids of a group's members of a kind that count.
func (v view) members(g *Group, kind string) ([]string, error) {
	list := []string{}
	for e, err := range v.r.Scan(store.Under(v.index(membersOf, g.ID, kind))) {
		if err != nil {
			return nil, err
		}
		m := membership{group: g.ID}
		if m.via, err = decodeVia(e.Value); err != nil {
			return nil, err
		}
		if m.counts(g) {
			list = append(list, e.Key.Last())
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
		g, err := v.group(m.group)
		if err != nil {
			return nil, nil, err
		}
		if m.counts(g) {
			seen[g.ID] = true
			direct = append(direct, g)
		}
	}
	for next := slices.Clone(direct); len(next) > 0; next = next[1:] {
		parents, err := v.parents(next[0].ID)
		if err != nil {
			return nil, nil, err
		}
		for _, id := range parents {
			if seen[id] {
				continue
			}
			seen[id] = true
			g, err := v.group(id)
			if err != nil {
				return nil, nil, err
			}
			inherited = append(inherited, g)
			next = append(next, g)
		}
	}
	return direct, inherited, nil
}

// above returns a group and every group that it is a member of, at any depth.
func (v view) above(group string) (map[string]bool, error) {
	seen := map[string]bool{group: true}
	for next := []string{group}; len(next) > 0; next = next[1:] {
		parents, err := v.parents(next[0])
		if err != nil {
			return nil, err
		}
		for _, id := range parents {
			if !seen[id] {
				seen[id] = true
				next = append(next, id)
			}
		}
	}
	return seen, nil
}

func (e edit) join(group, kind, member string, by via) error {
	value := []byte{}
	if by != (via{}) {
		var err error
		if value, err = json.Marshal(by); err != nil {
			return err
		}
	}
	if err := e.tx.Put(e.index(membersOf, group, kind, member), value); err != nil {
		return err
	}
	return e.tx.Put(e.index(groupsOf, kind, member, group), value)
}

func (e edit) leave(group, kind, member string) error {
	return e.drop(e.index(membersOf, group, kind, member), e.index(groupsOf, kind, member, group))
}

// setEntities makes the entities of a group exactly those given.
func (e edit) setEntities(g *Group, want []string) error {
	return e.setMembers(g, anEntity, want, func(id string) error {
		_, err := e.entity(id)
		return absent(err, fault.Newf(fault.Invalid, "invalid entity id %q: there is no such entity", clip(id)))
	}, nil)
}

// setGroups makes the groups in a group exactly those given.
func (e edit) setGroups(g *Group, want []string) error {
	above, err := e.above(g.ID)
	if err != nil {
		return err
	}
	return e.setMembers(g, aGroup, want, func(id string) error {
		if above[id] {
			return fault.Newf(fault.Invalid, "group %q cannot be a member: it would be a member of itself", clip(id))
		}
		_, err := e.group(id)
		return absent(err, fault.Newf(fault.Invalid, "invalid group id %q: there is no such group", clip(id)))
	}, e.touch)
}

// touch notes that a group's place among the groups has changed.
func (e edit) touch(id string) error {
	g, err := e.group(id)
	if err != nil {
		return err
	}
	return e.putGroup(g)
}

func (e edit) setMembers(g *Group, kind string, want []string, check, touch func(id string) error) error {
	have, err := e.members(g, kind)
	if err != nil {
		return err
	}
	want = slices.Compact(slices.Sorted(slices.Values(want)))
	for _, change := range []struct {
		from, to []string
		check    func(string) error
		do       func(string) error
	}{
		{want, have, check, func(id string) error { return e.join(g.ID, kind, id, via{}) }},
		{have, want, nil, func(id string) error { return e.leave(g.ID, kind, id) }},
	} {
		for _, id := range change.from {
			if _, same := slices.BinarySearch(change.to, id); same {
				continue
			}
			for _, step := range []func(string) error{change.check, change.do, touch} {
				if step == nil {
					continue
				}
				if err := step(id); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
