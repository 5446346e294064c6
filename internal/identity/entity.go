package identity

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// errAbsent is the answer for what is not there: 404 with an empty list of
// errors.
var errAbsent = fault.New(fault.NotFound, "")

// entityFields are what a write of an entity may set.
type entityFields struct {
	Metadata wire.Opt[map[string]string] `json:"metadata" doc:"Facts about the entity, an object of strings."`
	Policies wire.Opt[[]string]          `json:"policies" doc:"Policies that add to those of the entity's tokens."`
	Disabled wire.Opt[bool]              `json:"disabled" doc:"Whether the entity's tokens are refused, and its logins."`
}

type writeEntityRequest struct {
	ID   string `json:"id" doc:"Id of the entity to change."`
	Name string `json:"name" doc:"Name of the entity. An entity with the name is changed, else one is made."`
	entityFields
}

type writeEntityByIDRequest struct {
	ID   string `path:"id" doc:"Id of the entity."`
	Name string `json:"name" doc:"New name of the entity."`
	entityFields
}

type writeEntityByNameRequest struct {
	Name string `path:"name" doc:"Name of the entity. It is made if there is none."`
	entityFields
}

type idRequest struct {
	ID string `path:"id" doc:"Its id."`
}

type nameRequest struct {
	Name string `path:"name" doc:"Its name, exactly as it is spelt."`
}

type noInput struct{}

// createdEntity is the answer to the write that makes an entity.
type createdEntity struct {
	Aliases []string `json:"aliases"`
	ID      string   `json:"id"`
	Name    string   `json:"name"`
}

// clean checks the fields and brings them to their canonical form.
func (f *entityFields) clean() (err error) {
	if f.Policies.Set {
		if f.Policies.Value, err = cleanPolicies(f.Policies.Value); err != nil {
			return err
		}
	}
	return checkMetadata("metadata", f.Metadata.Value)
}

func (f *entityFields) apply(e *Entity) {
	f.Metadata.Into(&e.Metadata)
	f.Policies.Into(&e.Policies)
	f.Disabled.Into(&e.Disabled)
}

func (s *Store) writeEntity(ctx context.Context, c *route.Call, in writeEntityRequest) (*createdEntity, error) {
	return s.saveEntity(ctx, c, in.ID, in.Name, in.entityFields)
}

func (s *Store) writeEntityByID(ctx context.Context, c *route.Call, in writeEntityByIDRequest) (*createdEntity, error) {
	return s.saveEntity(ctx, c, in.ID, in.Name, in.entityFields)
}

func (s *Store) writeEntityByName(ctx context.Context, c *route.Call, in writeEntityByNameRequest) (*createdEntity, error) {
	return s.saveEntity(ctx, c, "", in.Name, in.entityFields)
}

// saveEntity changes the entity with an id, or the one with a name, or makes
// one. The answer is nil if nothing was made.
func (s *Store) saveEntity(ctx context.Context, c *route.Call, id, name string, f entityFields) (made *createdEntity, err error) {
	if name != "" {
		if err := checkName("entity", name, maxName); err != nil {
			return nil, err
		}
	}
	if err := f.clean(); err != nil {
		return nil, err
	}
	err = s.change(ctx, c.Namespace.ID, func(e edit) error {
		made = nil
		old, err := e.find(id, name)
		if errors.Is(err, store.ErrNotFound) {
			if id != "" {
				return fault.Newf(fault.Invalid, "entity not found from id %q", clip(id))
			}
			fresh, err := e.newEntity(name, f)
			if err == nil {
				made = &createdEntity{ID: fresh.ID, Name: fresh.Name}
			}
			return err
		}
		if err != nil {
			return err
		}
		f.apply(old)
		return e.updateEntity(old, name)
	})
	return made, err
}

// find returns the entity with the id if there is one to look for, else that
// with the name.
func (v view) find(id, name string) (*Entity, error) {
	switch {
	case id != "":
		return v.entity(id)
	case name != "":
		return v.entityNamed(name)
	}
	return nil, store.ErrNotFound
}

// newEntity makes an entity, with a name of its own if none is given.
func (e edit) newEntity(name string, f entityFields) (*Entity, error) {
	id, err := e.newID()
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = "entity_" + id[:8]
		if taken, err := store.Exists(e.tx, e.index(entityNames, name)); err != nil {
			return nil, err
		} else if taken {
			name = "entity_" + id
		}
	}
	n := &Entity{ID: id, Name: name, Created: e.now, Updated: e.now}
	f.apply(n)
	if err := e.claim(entityNames, "entity", name, id); err != nil {
		return nil, err
	}
	return n, e.putEntity(n)
}

func (e edit) putEntity(n *Entity) error {
	return store.PutJSON(e.tx, e.key(store.KindEntity, n.ID), n)
}

// updateEntity stores a changed entity, under a new name unless that is "".
func (e edit) updateEntity(n *Entity, name string) error {
	if name != "" && name != n.Name {
		if err := e.rename(entityNames, "entity", n.ID, n.Name, name); err != nil {
			return err
		}
		n.Name = name
	}
	n.Updated = e.now
	return e.putEntity(n)
}

// claim takes a name, which must be free in every case of its letters.
func (e edit) claim(names, what, name, id string) error {
	key := e.index(names, fold(name))
	taken, err := store.Exists(e.tx, key)
	if err != nil {
		return err
	}
	if taken {
		return fault.Newf(fault.Invalid, "the %s name %q is in use, maybe in another case of its letters", what, clip(name))
	}
	return store.PutJSON(e.tx, key, spelling{id, name})
}

func (e edit) rename(names, what, id, from, to string) error {
	if fold(from) == fold(to) {
		return store.PutJSON(e.tx, e.index(names, fold(to)), spelling{id, to})
	}
	if err := e.claim(names, what, to, id); err != nil {
		return err
	}
	return e.drop(e.index(names, fold(from)))
}

func (s *Store) readEntity(ctx context.Context, c *route.Call, in idRequest) (*entityAnswer, error) {
	return s.entityAnswer(ctx, c, func(v view) (*Entity, error) { return v.entity(in.ID) })
}

func (s *Store) readEntityByName(ctx context.Context, c *route.Call, in nameRequest) (*entityAnswer, error) {
	return s.entityAnswer(ctx, c, func(v view) (*Entity, error) { return v.entityNamed(in.Name) })
}

func (s *Store) deleteEntity(ctx context.Context, c *route.Call, in idRequest) (route.None, error) {
	return s.removeEntities(ctx, c, func(v view) (*Entity, error) { return v.entity(in.ID) })
}

func (s *Store) deleteEntityByName(ctx context.Context, c *route.Call, in nameRequest) (route.None, error) {
	return s.removeEntities(ctx, c, func(v view) (*Entity, error) { return v.entityNamed(in.Name) })
}

type batchDeleteRequest struct {
	IDs []string `json:"entity_ids" doc:"Ids of the entities to delete."`
}

func (s *Store) batchDelete(ctx context.Context, c *route.Call, in batchDeleteRequest) (route.None, error) {
	if len(in.IDs) == 0 {
		return route.None{}, fault.New(fault.Invalid, "missing entity ids to delete")
	}
	finders := make([]func(view) (*Entity, error), len(in.IDs))
	for i, id := range in.IDs {
		finders[i] = func(v view) (*Entity, error) {
			n, err := v.entity(id)
			if errors.Is(err, store.ErrNotFound) {
				if ferr := s.foreign(v, id); ferr != nil {
					err = ferr
				}
			}
			return n, err
		}
	}
	return s.removeEntities(ctx, c, finders...)
}

// removeEntities deletes what the finders find, all or nothing. What is not
// there is no error.
func (s *Store) removeEntities(ctx context.Context, c *route.Call, finders ...func(view) (*Entity, error)) (route.None, error) {
	return route.None{}, s.change(ctx, c.Namespace.ID, func(e edit) error {
		for _, find := range finders {
			old, err := find(e.view)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if err := e.removeEntity(old); err != nil {
				return err
			}
		}
		return nil
	})
}

// removeEntity deletes an entity with all that refers to it.
func (e edit) removeEntity(n *Entity) error {
	aliases, err := e.aliasesOf(n.ID)
	if err != nil {
		return err
	}
	for _, a := range aliases {
		if err := e.dropAlias(a); err != nil {
			return err
		}
	}
	groups, err := e.memberships(anEntity, n.ID)
	if err != nil {
		return err
	}
	for _, m := range groups {
		if err := e.in(m.ns).leave(m.group, anEntity, member{n.ID, e.ns}); err != nil {
			return err
		}
	}
	for _, id := range n.Merged {
		if err := e.drop(e.index(mergedInto, id)); err != nil {
			return err
		}
	}
	return e.drop(e.index(entityNames, fold(n.Name)), e.key(store.KindEntity, n.ID))
}

// foreign refuses the id of an entity of another namespace. One that nobody has is
// passed over.
func (s *Store) foreign(v view, id string) error {
	if s.Elsewhere == nil {
		return nil
	}
	var found bool
	var failed error
	err := s.Elsewhere(v.r, func(ns store.NamespaceID) bool {
		if ns != v.ns {
			found, failed = store.Exists(v.r, v.in(ns).key(store.KindEntity, id))
		}
		return !found && failed == nil
	})
	switch {
	case err != nil:
		return err
	case failed == nil && found:
		return errDenied
	}
	return failed
}

func (s *Store) listEntities(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	list := route.Keys{Info: map[string]any{}}
	err := s.read(ctx, c.Namespace.ID, func(v view) error {
		list.Keys = nil
		return v.page(c, v.key(store.KindEntity), func(e store.Entry) error {
			n, err := v.entity(e.Key.Last())
			if err != nil {
				return err
			}
			aliases, err := v.aliasesOf(n.ID)
			if err != nil {
				return err
			}
			info := entityInfo{Aliases: []aliasInfo{}, Name: n.Name}
			for _, a := range aliases {
				info.Aliases = append(info.Aliases, s.aliasInfo(c.Namespace.ID, a.ID, a.Accessor, a.Name))
			}
			list.Keys = append(list.Keys, n.ID)
			list.Info[n.ID] = info
			return nil
		})
	})
	return list, err
}

func (s *Store) listEntityNames(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	return s.names(ctx, c, entityNames)
}

// page calls fn for the rows under a key that the call's after and limit ask
// for. The last part of their keys must be what the listing shows.
func (v view) page(c *route.Call, under store.Key, fn func(store.Entry) error) error {
	rng := store.Under(under)
	if after := c.Query.Get("after"); after != "" {
		rng.Start = store.After(under.Append(after))
	}
	if n, err := strconv.Atoi(c.Query.Get("limit")); err == nil && n > 0 {
		rng.Limit = n // one that is not a number is refused where all lists are paged
	}
	for e, err := range v.r.Scan(rng) {
		if err != nil {
			return err
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// entityAnswer is an entity as reads show it.
type entityAnswer struct {
	Aliases     []aliasAnswer     `json:"aliases"`
	Created     time.Time         `json:"creation_time"`
	Direct      []string          `json:"direct_group_ids"`
	Disabled    bool              `json:"disabled"`
	Groups      []string          `json:"group_ids"`
	ID          string            `json:"id"`
	Inherited   []string          `json:"inherited_group_ids"`
	Updated     time.Time         `json:"last_update_time"`
	Merged      []string          `json:"merged_entity_ids"`
	Metadata    map[string]string `json:"metadata"`
	Name        string            `json:"name"`
	NamespaceID string            `json:"namespace_id"`
	Policies    []string          `json:"policies"`
}

type entityInfo struct {
	Aliases []aliasInfo `json:"aliases"`
	Name    string      `json:"name"`
}

// entityAnswer shows the entity that find finds.
func (s *Store) entityAnswer(ctx context.Context, c *route.Call, find func(view) (*Entity, error)) (*entityAnswer, error) {
	var a *entityAnswer
	err := s.read(ctx, c.Namespace.ID, func(v view) error {
		e, err := find(v)
		if err != nil {
			return absent(err, errAbsent)
		}
		aliases, err := v.aliasesOf(e.ID)
		if err != nil {
			return err
		}
		direct, inherited, err := v.standing(e.ID)
		if err != nil {
			return err
		}
		a = &entityAnswer{
			Aliases: []aliasAnswer{}, Created: e.Created, Direct: ids(direct), Disabled: e.Disabled, Groups: append(ids(direct), ids(inherited)...),
			ID: e.ID, Inherited: ids(inherited), Updated: e.Updated, Merged: e.Merged, Metadata: e.Metadata, Name: e.Name,
			NamespaceID: c.Namespace.UUID, Policies: orEmpty(e.Policies),
		}
		for _, alias := range aliases {
			a.Aliases = append(a.Aliases, s.aliasAnswer(c.Namespace.ID, alias))
		}
		return nil
	})
	return a, err
}

func ids(groups []*Group) []string {
	list := make([]string, len(groups))
	for i, g := range groups {
		list[i] = g.ID
	}
	return list
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
