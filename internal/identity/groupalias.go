package identity

import (
	"context"
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

type groupAliasFields struct {
	Name     string `json:"name" doc:"What the auth method calls the group."`
	Accessor string `json:"mount_accessor" doc:"Accessor of the auth mount."`
	Group    string `json:"canonical_id" doc:"External group that the alias belongs to; a new one if not given."`
}

type writeGroupAliasRequest struct {
	ID string `json:"id" doc:"Id of the alias to change."`
	groupAliasFields
}

type writeGroupAliasByIDRequest struct {
	ID string `path:"id" doc:"Id of the alias."`
	groupAliasFields
}

func (s *Store) writeGroupAlias(ctx context.Context, c *route.Call, in writeGroupAliasRequest) (*savedAlias, error) {
	if in.ID == "" && in.Name == "" {
		return nil, fault.New(fault.Invalid, "missing alias name")
	}
	if in.ID == "" && in.Accessor == "" {
		return nil, fault.New(fault.Invalid, `missing "mount_accessor"`)
	}
	return s.saveGroupAlias(ctx, c, in.ID, in.groupAliasFields)
}

func (s *Store) writeGroupAliasByID(ctx context.Context, c *route.Call, in writeGroupAliasByIDRequest) (*savedAlias, error) {
	return s.saveGroupAlias(ctx, c, in.ID, in.groupAliasFields)
}

// saveGroupAlias changes the alias with an id, or the one with the name at the
// mount, or makes one.
func (s *Store) saveGroupAlias(ctx context.Context, c *route.Call, id string, f groupAliasFields) (saved *savedAlias, err error) {
	if f.Name != "" {
		if err := checkName("alias", f.Name, maxAliasName); err != nil {
			return nil, err
		}
	}
	if f.Accessor != "" {
		if _, err := s.authMount(c, f.Accessor); err != nil {
			return nil, err
		}
	}
	err = s.change(ctx, c.Namespace.ID, func(e edit) error {
		var g *Group
		owner, err := e.mappedGroup(id, f)
		switch {
		case errors.Is(err, store.ErrNotFound) && id != "":
			return fault.Newf(fault.Invalid, "invalid group alias id %q", clip(id))
		case errors.Is(err, store.ErrNotFound):
			g, err = e.mapGroup(f)
		case err == nil:
			g, err = e.remapGroup(owner, f)
		}
		if err == nil {
			saved = &savedAlias{Canonical: g.ID, ID: g.Alias.ID}
		}
		return err
	})
	return saved, err
}

// mappedGroup returns the group whose alias has the id, else the one whose alias
// has the name at the mount.
func (v view) mappedGroup(id string, f groupAliasFields) (*Group, error) {
	if id != "" {
		return v.groupByAlias(id)
	}
	m, err := v.mapping(f.Accessor, f.Name)
	if err != nil {
		return nil, err
	}
	return v.group(m.Group)
}

func (v view) groupByAlias(id string) (*Group, error) {
	group, err := v.r.Get(v.index(groupAliases, id))
	if err != nil {
		return nil, err
	}
	return v.group(string(group))
}

func (v view) mapping(accessor, name string) (*mapping, error) {
	return row[mapping](v.r, v.index(mappings, accessor, fold(name)))
}

// mapGroup gives a group its first alias.
func (e edit) mapGroup(f groupAliasFields) (*Group, error) {
	g, err := e.mappable(f.Group)
	if err != nil {
		return nil, err
	}
	id, err := e.newID()
	if err != nil {
		return nil, err
	}
	g.Alias = &GroupAlias{ID: id, Accessor: f.Accessor, Name: f.Name, Created: e.now}
	return g, e.putMapping(g)
}

// remapGroup changes the alias of a group, or moves it to another.
func (e edit) remapGroup(g *Group, f groupAliasFields) (*Group, error) {
	a := *g.Alias
	if f.Name != "" {
		a.Name = f.Name
	}
	if f.Accessor != "" {
		a.Accessor = f.Accessor
	}
	if err := e.dropMapping(g.Alias); err != nil {
		return nil, err
	}
	if f.Group != "" && f.Group != g.ID {
		g.Alias = nil
		if err := e.putGroup(g); err != nil {
			return nil, err
		}
		var err error
		if g, err = e.mappable(f.Group); err != nil {
			return nil, err
		}
	}
	g.Alias = &a
	return g, e.putMapping(g)
}

// mappable returns the external group with an id, which must have no alias, or
// a new one if the id is "".
func (e edit) mappable(id string) (*Group, error) {
	if id == "" {
		return e.newGroup("", external)
	}
	g, err := e.group(id)
	switch {
	case err != nil:
		return nil, absent(err, fault.Newf(fault.Invalid, "invalid canonical id %q: there is no such group", clip(id)))
	case g.Type != external:
		return nil, fault.New(fault.Invalid, "an alias can be given to an external group only")
	case g.Alias != nil:
		return nil, fault.New(fault.Invalid, "the group has another alias; it can have one")
	}
	return g, nil
}

// putMapping stores a group with a new or changed alias. What was mapped before
// ends: each user's membership begins anew with the next login.
func (e edit) putMapping(g *Group) error {
	a := g.Alias
	key := e.index(mappings, a.Accessor, fold(a.Name))
	if taken, err := store.Exists(e.tx, key); err != nil {
		return err
	} else if taken {
		return fault.New(fault.Invalid, "another group has this alias at the mount")
	}
	var err error
	if a.Mapping, err = e.newID(); err != nil {
		return err
	}
	a.Updated = e.now
	if err := store.PutJSON(e.tx, key, mapping{Group: g.ID, Mapping: a.Mapping}); err != nil {
		return err
	}
	if err := e.tx.Put(e.index(groupAliases, a.ID), []byte(g.ID)); err != nil {
		return err
	}
	return e.putGroup(g)
}

func (e edit) dropMapping(a *GroupAlias) error {
	return e.drop(e.index(mappings, a.Accessor, fold(a.Name)), e.index(groupAliases, a.ID))
}

func (s *Store) readGroupAlias(ctx context.Context, c *route.Call, in idRequest) (*namedGroupAliasAnswer, error) {
	var a *namedGroupAliasAnswer
	err := s.read(ctx, c.Namespace.ID, func(v view) error {
		g, err := v.groupByAlias(in.ID)
		if err == nil {
			a = &namedGroupAliasAnswer{groupAliasAnswer: s.groupAliasAnswer(c.Namespace.ID, g), NamespaceID: c.Namespace.UUID}
		}
		return absent(err, errAbsent)
	})
	return a, err
}

// deleteGroupAlias removes a mapping. Who was a member by it is one no more.
func (s *Store) deleteGroupAlias(ctx context.Context, c *route.Call, in idRequest) (route.None, error) {
	return route.None{}, s.change(ctx, c.Namespace.ID, func(e edit) error {
		g, err := e.groupByAlias(in.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := e.dropMapping(g.Alias); err != nil {
			return err
		}
		g.Alias = nil
		return e.putGroup(g)
	})
}

func (s *Store) listGroupAliases(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	list := route.Keys{Info: map[string]any{}}
	err := s.read(ctx, c.Namespace.ID, func(v view) error {
		list.Keys = nil
		return v.page(c, v.index(groupAliases), func(e store.Entry) error {
			g, err := v.group(string(e.Value))
			if err != nil {
				return err
			}
			info := s.aliasInfo(c.Namespace.ID, "", g.Alias.Accessor, g.Alias.Name)
			info.Canonical = g.ID
			list.Keys = append(list.Keys, g.Alias.ID)
			list.Info[g.Alias.ID] = info
			return nil
		})
	})
	return list, err
}

// groupAliasAnswer is an alias as reads show it within its group.
type groupAliasAnswer struct {
	Canonical  string            `json:"canonical_id"`
	Created    time.Time         `json:"creation_time"`
	ID         string            `json:"id"`
	Updated    time.Time         `json:"last_update_time"`
	MergedFrom []string          `json:"merged_from_canonical_ids"`
	Metadata   map[string]string `json:"metadata"`
	Accessor   string            `json:"mount_accessor"`
	MountPath  string            `json:"mount_path"`
	MountType  string            `json:"mount_type"`
	Name       string            `json:"name"`
}

// namedGroupAliasAnswer is an alias that is read on its own.
type namedGroupAliasAnswer struct {
	groupAliasAnswer
	Custom      map[string]string `json:"custom_metadata"`
	Local       bool              `json:"local"`
	NamespaceID string            `json:"namespace_id"`
}

func (s *Store) groupAliasAnswer(ns store.NamespaceID, g *Group) groupAliasAnswer {
	a := g.Alias
	path, kind := s.place(ns, a.Accessor)
	return groupAliasAnswer{Canonical: g.ID, Created: a.Created, ID: a.ID, Updated: a.Updated, Accessor: a.Accessor, MountPath: path, MountType: kind, Name: a.Name}
}
