package identity

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// aliasFields are what a write of an alias may set. The metadata that the method
// gives at login is not among them.
type aliasFields struct {
	Name     string                      `json:"name" doc:"Name of the user at the mount."`
	Accessor string                      `json:"mount_accessor" doc:"Accessor of the auth mount."`
	Entity   string                      `json:"canonical_id" alias:"entity_id" doc:"Entity that the alias belongs to; a new one if not given."`
	Custom   wire.Opt[map[string]string] `json:"custom_metadata" doc:"Facts about the alias that logins do not change, an object of strings."`
}

type writeAliasRequest struct {
	ID string `json:"id" doc:"Id of the alias to change."`
	aliasFields
}

type writeAliasByIDRequest struct {
	ID string `path:"id" doc:"Id of the alias."`
	aliasFields
}

// savedAlias is the answer to a write of an alias.
type savedAlias struct {
	Canonical string `json:"canonical_id"`
	ID        string `json:"id"`
}

func (s *Store) writeAlias(ctx context.Context, c *route.Call, in writeAliasRequest) (*savedAlias, error) {
	if in.ID == "" && in.Name == "" {
		return nil, fault.New(fault.Invalid, "missing alias name")
	}
	if in.ID == "" && in.Accessor == "" {
		return nil, fault.New(fault.Invalid, `missing "mount_accessor"`)
	}
	return s.saveAlias(ctx, c, in.ID, in.aliasFields)
}

func (s *Store) writeAliasByID(ctx context.Context, c *route.Call, in writeAliasByIDRequest) (*savedAlias, error) {
	return s.saveAlias(ctx, c, in.ID, in.aliasFields)
}

// saveAlias changes the alias with an id, or the one with the name at the mount,
// or makes one. It never joins two entities: a name that another alias has is
// refused, and so is a second alias of an entity at a mount.
func (s *Store) saveAlias(ctx context.Context, c *route.Call, id string, f aliasFields) (saved *savedAlias, err error) {
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
	if err := checkMetadata("custom_metadata", f.Custom.Value); err != nil {
		return nil, err
	}
	err = s.change(ctx, c.Namespace.ID, func(e edit) error {
		a, err := e.findAlias(id, f)
		switch {
		case errors.Is(err, store.ErrNotFound) && id != "":
			return fault.Newf(fault.Invalid, "invalid alias id %q", clip(id))
		case errors.Is(err, store.ErrNotFound):
			a, err = e.newAlias(f)
		case err == nil:
			err = e.updateAlias(a, f)
		}
		if err == nil {
			saved = &savedAlias{Canonical: a.Entity, ID: a.ID}
		}
		return err
	})
	return saved, err
}

func (v view) findAlias(id string, f aliasFields) (*Alias, error) {
	if id != "" {
		return v.aliasByID(id)
	}
	return v.alias(f.Accessor, f.Name)
}

func (e edit) newAlias(f aliasFields) (*Alias, error) {
	id, err := e.newID()
	if err != nil {
		return nil, err
	}
	a := &Alias{ID: id, Entity: f.Entity, Accessor: f.Accessor, Name: f.Name, Custom: f.Custom.Value, Created: e.now, Updated: e.now}
	if a.Entity == "" {
		owner, err := e.newEntity("", entityFields{})
		if err != nil {
			return nil, err
		}
		a.Entity = owner.ID
	} else if err := e.checkOwner(a.Entity, a.Accessor); err != nil {
		return nil, err
	}
	return a, e.putAlias(a)
}

func (e edit) updateAlias(a *Alias, f aliasFields) error {
	next := *a
	for _, set := range []struct {
		to   *string
		text string
	}{{&next.Name, f.Name}, {&next.Accessor, f.Accessor}, {&next.Entity, f.Entity}} {
		if set.text != "" {
			*set.to = set.text
		}
	}
	f.Custom.Into(&next.Custom)
	next.Updated = e.now
	if key := e.aliasKey(next.Accessor, next.Name); key != e.aliasKey(a.Accessor, a.Name) {
		if taken, err := store.Exists(e.tx, key); err != nil {
			return err
		} else if taken {
			return fault.New(fault.Invalid, "another alias has this name at the mount; entities are joined by identity/entity/merge alone")
		}
	}
	if next.Entity != a.Entity || next.Accessor != a.Accessor {
		if err := e.checkOwner(next.Entity, next.Accessor); err != nil {
			return err
		}
	}
	if err := e.dropAlias(a); err != nil {
		return err
	}
	*a = next
	return e.putAlias(a)
}

// checkOwner refuses an alias for an entity that is not there, or that has one
// at the mount already.
func (e edit) checkOwner(entity, accessor string) error {
	if _, err := e.entity(entity); err != nil {
		return absent(err, fault.Newf(fault.Invalid, "invalid canonical id %q: there is no such entity", clip(entity)))
	}
	if taken, err := store.Exists(e.tx, e.index(aliasesOf, entity, accessor)); err != nil {
		return err
	} else if taken {
		return fault.New(fault.Invalid, "the entity has another alias at this mount; it can have one")
	}
	return nil
}

func (s *Store) readAlias(ctx context.Context, c *route.Call, in idRequest) (*namedAliasAnswer, error) {
	var a *namedAliasAnswer
	err := s.read(ctx, c.Namespace.ID, func(v view) error {
		alias, err := v.aliasByID(in.ID)
		if err == nil {
			a = &namedAliasAnswer{s.aliasAnswer(c.Namespace.ID, alias), c.Namespace.UUID}
		}
		return absent(err, errAbsent)
	})
	return a, err
}

func (s *Store) deleteAlias(ctx context.Context, c *route.Call, in idRequest) (route.None, error) {
	return route.None{}, s.change(ctx, c.Namespace.ID, func(e edit) error {
		a, err := e.aliasByID(in.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return e.dropAlias(a)
	})
}

func (s *Store) listAliases(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	list := route.Keys{Info: map[string]any{}}
	err := s.read(ctx, c.Namespace.ID, func(v view) error {
		list.Keys = nil
		return v.page(c, v.index(aliasIDs), func(e store.Entry) error {
			a, err := row[Alias](v.r, store.Key(e.Value))
			if err != nil {
				return err
			}
			list.Keys = append(list.Keys, a.ID)
			info := s.aliasInfo(c.Namespace.ID, "", a.Accessor, a.Name)
			info.Canonical, info.Custom = a.Entity, a.Custom
			list.Info[a.ID] = info
			return nil
		})
	})
	return list, err
}

// aliasAnswer is an alias as reads show it within its entity.
type aliasAnswer struct {
	Canonical  string            `json:"canonical_id"`
	Created    time.Time         `json:"creation_time"`
	Custom     map[string]string `json:"custom_metadata"`
	ID         string            `json:"id"`
	Updated    time.Time         `json:"last_update_time"`
	Local      bool              `json:"local"`
	MergedFrom []string          `json:"merged_from_canonical_ids"`
	Metadata   map[string]string `json:"metadata"`
	Accessor   string            `json:"mount_accessor"`
	MountPath  string            `json:"mount_path"`
	MountType  string            `json:"mount_type"`
	Name       string            `json:"name"`
}

// namedAliasAnswer is an alias that is read on its own.
type namedAliasAnswer struct {
	aliasAnswer
	NamespaceID string `json:"namespace_id"`
}

// aliasInfo is an alias in listings.
type aliasInfo struct {
	Canonical string            `json:"canonical_id,omitempty"`
	Custom    map[string]string `json:"custom_metadata,omitempty"`
	ID        string            `json:"id,omitempty"`
	Accessor  string            `json:"mount_accessor"`
	MountPath string            `json:"mount_path"`
	MountType string            `json:"mount_type"`
	Name      string            `json:"name"`
}

func (s *Store) aliasAnswer(ns store.NamespaceID, a *Alias) aliasAnswer {
	path, kind := s.place(ns, a.Accessor)
	return aliasAnswer{
		Canonical: a.Entity, Created: a.Created, Custom: a.Custom, ID: a.ID, Updated: a.Updated, MergedFrom: slices.Clone(a.MergedFrom),
		Metadata: a.Metadata, Accessor: a.Accessor, MountPath: path, MountType: kind, Name: a.Name,
	}
}

func (s *Store) aliasInfo(ns store.NamespaceID, id, accessor, name string) aliasInfo {
	path, kind := s.place(ns, accessor)
	return aliasInfo{ID: id, Accessor: accessor, MountPath: path, MountType: kind, Name: name}
}

// place returns where the mount of an accessor is and of what type; nothing for
// a mount that is gone.
func (s *Store) place(ns store.NamespaceID, accessor string) (path, kind string) {
	m, err := s.Mount(ns, accessor)
	if err != nil {
		return "", ""
	}
	return m.Path, m.Type
}
