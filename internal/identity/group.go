package identity

import (
	"context"
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// groupFields are what a write of a group may set.
type groupFields struct {
	Type     string                      `json:"type" doc:"internal or external; fixed when the group is made, and internal if not given."`
	Metadata wire.Opt[map[string]string] `json:"metadata" doc:"Facts about the group, an object of strings."`
	Policies wire.Opt[[]string]          `json:"policies" doc:"Policies that add to those of the members' tokens."`
	Entities wire.Opt[[]string]          `json:"member_entity_ids" doc:"Ids of all entities that are members. An external group has none of its own."`
	Groups   wire.Opt[[]string]          `json:"member_group_ids" doc:"Ids of all groups that are members. An external group has none."`
}

type writeGroupRequest struct {
	ID   string `json:"id" doc:"Id of the group to change."`
	Name string `json:"name" doc:"Name of the group. A group with the name is changed, else one is made."`
	groupFields
}

type writeGroupByIDRequest struct {
	ID   string `path:"id" doc:"Id of the group."`
	Name string `json:"name" doc:"New name of the group."`
	groupFields
}

type writeGroupByNameRequest struct {
	Name string `path:"name" doc:"Name of the group. It is made if there is none."`
	groupFields
}

// createdGroup is the answer to the write that makes a group.
type createdGroup struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func (f *groupFields) clean() (err error) {
	if f.Policies.Set {
		if f.Policies.Value, err = cleanPolicies(f.Policies.Value); err != nil {
			return err
		}
	}
	switch f.Type {
	case "", internal, external:
	default:
		return fault.Newf(fault.Invalid, "invalid group type %q: use internal or external", clip(f.Type))
	}
	return checkMetadata("metadata", f.Metadata.Value)
}

func (s *Store) writeGroup(ctx context.Context, c *route.Call, in writeGroupRequest) (*createdGroup, error) {
	return s.saveGroup(ctx, c, in.ID, in.Name, in.groupFields)
}

func (s *Store) writeGroupByID(ctx context.Context, c *route.Call, in writeGroupByIDRequest) (*createdGroup, error) {
	return s.saveGroup(ctx, c, in.ID, in.Name, in.groupFields)
}

func (s *Store) writeGroupByName(ctx context.Context, c *route.Call, in writeGroupByNameRequest) (*createdGroup, error) {
	return s.saveGroup(ctx, c, "", in.Name, in.groupFields)
}

// saveGroup changes the group with an id, or the one with a name, or makes one.
// The answer is nil if nothing was made.
func (s *Store) saveGroup(ctx context.Context, c *route.Call, id, name string, f groupFields) (made *createdGroup, err error) {
	if name != "" {
		if err := checkName("group", name, maxName); err != nil {
			return nil, err
		}
	}
	if err := f.clean(); err != nil {
		return nil, err
	}
	above, err := s.membersFrom(ctx, c.Namespace.ID, f)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, c.Namespace.ID, func(e edit) error {
		made, e.above = nil, above
		g, err := e.findGroup(id, name)
		switch {
		case errors.Is(err, store.ErrNotFound) && id != "":
			return fault.Newf(fault.Invalid, "group not found from id %q", clip(id))
		case errors.Is(err, store.ErrNotFound):
			if g, err = e.newGroup(name, f.Type); err != nil {
				return err
			}
			made = &createdGroup{ID: g.ID, Name: g.Name}
		case err != nil:
			return err
		case f.Type != "" && f.Type != g.Type:
			return fault.New(fault.Invalid, "the type of a group cannot be changed")
		}
		if name != "" && name != g.Name {
			if err := e.rename(groupNames, "group", g.ID, g.Name, name); err != nil {
				return err
			}
			g.Name = name
		}
		return e.fillGroup(g, f)
	})
	return made, err
}

// membersFrom returns the other namespaces that members of a group may be of: those
// above it.
func (s *Store) membersFrom(ctx context.Context, ns store.NamespaceID, f groupFields) ([]store.NamespaceID, error) {
	if s.Above == nil || len(f.Entities.Value)+len(f.Groups.Value) == 0 {
		return nil, nil
	}
	return s.Above(ctx, ns)
}

func (v view) findGroup(id, name string) (*Group, error) {
	switch {
	case id != "":
		return v.group(id)
	case name != "":
		return v.groupNamed(name)
	}
	return nil, store.ErrNotFound
}

// newGroup makes a group that is not stored yet; its name is taken.
func (e edit) newGroup(name, kind string) (*Group, error) {
	id, err := e.newID()
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = "group_" + id[:8]
		if taken, err := store.Exists(e.tx, e.index(groupNames, name)); err != nil {
			return nil, err
		} else if taken {
			name = "group_" + id
		}
	}
	if kind == "" {
		kind = internal
	}
	return &Group{ID: id, Name: name, Type: kind, Created: e.now}, e.claim(groupNames, "group", name, id)
}

// fillGroup sets the fields that were given and stores the group.
func (e edit) fillGroup(g *Group, f groupFields) error {
	f.Metadata.Into(&g.Metadata)
	f.Policies.Into(&g.Policies)
	if g.Type == external && len(f.Entities.Value)+len(f.Groups.Value) > 0 {
		return fault.New(fault.Invalid, "members of an external group cannot be set: they follow the logins")
	}
	if f.Entities.Set && g.Type == internal {
		g.HasEntities = true
		if err := e.setEntities(g, f.Entities.Value); err != nil {
			return err
		}
	}
	if f.Groups.Set && g.Type == internal {
		g.HasGroups = true
		if err := e.setGroups(g, f.Groups.Value); err != nil {
			return err
		}
	}
	return e.putGroup(g)
}

func (e edit) putGroup(g *Group) error {
	g.Updated = e.now
	g.Index++
	return store.PutJSON(e.tx, e.key(store.KindGroup, g.ID), g)
}

func (s *Store) readGroup(ctx context.Context, c *route.Call, in idRequest) (*groupAnswer, error) {
	return s.groupAnswer(ctx, c, func(v view) (*Group, error) { return v.group(in.ID) })
}

func (s *Store) readGroupByName(ctx context.Context, c *route.Call, in nameRequest) (*groupAnswer, error) {
	return s.groupAnswer(ctx, c, func(v view) (*Group, error) { return v.groupNamed(in.Name) })
}

func (s *Store) deleteGroup(ctx context.Context, c *route.Call, in idRequest) (route.None, error) {
	return route.None{}, s.removeGroup(ctx, c, func(v view) (*Group, error) { return v.group(in.ID) })
}

func (s *Store) deleteGroupByName(ctx context.Context, c *route.Call, in nameRequest) (route.None, error) {
	return route.None{}, s.removeGroup(ctx, c, func(v view) (*Group, error) { return v.groupNamed(in.Name) })
}

// removedAtOnce is how many members one transaction removes with their group.
const removedAtOnce = 5000

// removeGroup deletes the group that find finds. Members beyond what fits into
// one transaction are removed before the group is, so that a call which was
// interrupted can be made again.
func (s *Store) removeGroup(ctx context.Context, c *route.Call, find func(view) (*Group, error)) error {
	for more := true; more; {
		err := s.change(ctx, c.Namespace.ID, func(e edit) error {
			more = false
			g, err := find(e.view)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			if more, err = e.dismiss(g.ID); err != nil || more {
				return err
			}
			return e.dropGroup(g)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dismiss removes members of a group, and reports whether some are left.
func (e edit) dismiss(group string) (more bool, err error) {
	rng := store.Under(e.index(membersOf, group))
	rng.Limit = removedAtOnce
	type found struct {
		kind string
		member
	}
	var members []found
	for row, err := range e.r.Scan(rng) {
		if err != nil {
			return false, err
		}
		parts, err := row.Key.Parts()
		if err != nil {
			return false, err
		}
		by, err := decodeVia(row.Value)
		if err != nil {
			return false, err
		}
		members = append(members, found{parts[2], member{parts[3], e.place(by)}})
	}
	for _, m := range members {
		if err := e.leave(group, m.kind, m.member); err != nil {
			return false, err
		}
		if m.kind == aGroup {
			if err := e.touch(m.member); err != nil {
				return false, err
			}
		}
	}
	return len(members) == removedAtOnce, nil
}

// dropGroup removes a group without members from the groups above it and for
// good.
func (e edit) dropGroup(g *Group) error {
	parents, err := e.memberships(aGroup, g.ID)
	if err != nil {
		return err
	}
	for _, m := range parents {
		if err := e.in(m.ns).leave(m.group, aGroup, member{g.ID, e.ns}); err != nil {
			return err
		}
	}
	if g.Alias != nil {
		if err := e.dropMapping(g.Alias); err != nil {
			return err
		}
	}
	return e.drop(e.index(groupNames, fold(g.Name)), e.key(store.KindGroup, g.ID))
}

func (s *Store) listGroups(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	list := route.Keys{Info: map[string]any{}}
	err := s.read(ctx, c.Namespace.ID, func(v view) error {
		list.Keys = nil
		return v.page(c, v.key(store.KindGroup), func(e store.Entry) error {
			g, err := v.group(e.Key.Last())
			if err != nil {
				return err
			}
			info, err := s.groupInfo(v, g)
			list.Keys = append(list.Keys, g.ID)
			list.Info[g.ID] = info
			return err
		})
	})
	return list, err
}

// groupInfo is a group in listings.
type groupInfo struct {
	Alias    *aliasInfo `json:"alias,omitempty"`
	Name     string     `json:"name"`
	Entities int        `json:"num_member_entities"`
	Parents  int        `json:"num_parent_groups"`
}

func (s *Store) groupInfo(v view, g *Group) (groupInfo, error) {
	members, err := v.members(g, anEntity)
	if err != nil {
		return groupInfo{}, err
	}
	parents, err := v.parents(g.ID)
	if err != nil {
		return groupInfo{}, err
	}
	info := groupInfo{Name: g.Name, Entities: len(members), Parents: len(parents)}
	if a := g.Alias; a != nil {
		alias := s.aliasInfo(v.ns, a.ID, a.Accessor, a.Name)
		info.Alias = &alias
	}
	return info, nil
}

func (s *Store) listGroupNames(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	return s.names(ctx, c, groupNames)
}

// groupAnswer is a group as reads show it.
type groupAnswer struct {
	Alias       any               `json:"alias"`
	Created     time.Time         `json:"creation_time"`
	ID          string            `json:"id"`
	Updated     time.Time         `json:"last_update_time"`
	Entities    []string          `json:"member_entity_ids"`
	Groups      []string          `json:"member_group_ids"`
	Metadata    map[string]string `json:"metadata"`
	Index       uint64            `json:"modify_index"`
	Name        string            `json:"name"`
	NamespaceID string            `json:"namespace_id"`
	Parents     []string          `json:"parent_group_ids"`
	Policies    []string          `json:"policies"`
	Type        string            `json:"type"`
}

// groupAnswer shows the group that find finds.
func (s *Store) groupAnswer(ctx context.Context, c *route.Call, find func(view) (*Group, error)) (*groupAnswer, error) {
	var a *groupAnswer
	err := s.read(ctx, c.Namespace.ID, func(v view) error {
		g, err := find(v)
		if err != nil {
			return absent(err, errAbsent)
		}
		a = &groupAnswer{
			Alias: struct{}{}, Created: g.Created, ID: g.ID, Updated: g.Updated, Metadata: g.Metadata, Index: g.Index, Name: g.Name,
			NamespaceID: c.Namespace.UUID, Policies: orEmpty(g.Policies), Type: g.Type,
		}
		if g.Alias != nil {
			a.Alias = s.groupAliasAnswer(c.Namespace.ID, g)
		}
		if a.Entities, err = v.members(g, anEntity); err != nil {
			return err
		}
		if a.Groups, err = v.members(g, aGroup); err != nil {
			return err
		}
		if a.Parents, err = v.parents(g.ID); err != nil {
			return err
		}
		a.Entities = orNull(a.Entities, g.HasEntities)
		a.Groups = orNull(a.Groups, g.HasGroups)
		a.Parents = orNull(a.Parents, false)
		return nil
	})
	return a, err
}

// orNull returns nil for an empty list of what was never given.
func orNull(list []string, given bool) []string {
	if len(list) == 0 && !given {
		return nil
	}
	return list
}
