package identity

import (
	"context"
	"slices"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

type mergeRequest struct {
	From  []string `json:"from_entity_ids" doc:"Entities to merge, which end."`
	To    string   `json:"to_entity_id" doc:"Entity that gets their aliases and groups."`
	Keep  []string `json:"conflicting_alias_ids_to_keep" doc:"Where several of the entities have an alias at a mount: the ids of those that stay."`
	Force bool     `json:"force" doc:"Accepted for older clients; nothing needs it."`
}

// merge joins entities. Their aliases and memberships go to the one that stays;
// their policies and metadata end with them. Tokens of theirs count as its own
// from now on.
func (s *Store) merge(ctx context.Context, c *route.Call, in mergeRequest) (route.None, error) {
	switch {
	case len(in.From) == 0:
		return route.None{}, fault.New(fault.Invalid, `missing "from_entity_ids"`)
	case in.To == "":
		return route.None{}, fault.New(fault.Invalid, `missing "to_entity_id"`)
	case slices.Contains(in.From, in.To):
		return route.None{}, fault.New(fault.Invalid, `"to_entity_id" is among "from_entity_ids"`)
	}
	from := slices.Compact(slices.Sorted(slices.Values(in.From)))
	err := s.change(ctx, c.Namespace.ID, func(e edit) error {
		to, err := e.entity(in.To)
		if err != nil {
			return absent(err, fault.Newf(fault.Invalid, `"to_entity_id" %q: there is no such entity`, clip(in.To)))
		}
		for _, id := range from {
			old, err := e.entity(id)
			if err != nil {
				return absent(err, fault.Newf(fault.Invalid, `"from_entity_ids" %q: there is no such entity`, clip(id)))
			}
			if err := e.absorb(to, old, in.Keep); err != nil {
				return err
			}
		}
		return e.updateEntity(to, "")
	})
	if err == nil {
		s.Log.Info("entities were merged", "namespace", c.Namespace.Path, "from", from, "to", in.To, "request", c.ID)
	}
	return route.None{}, err
}

// absorb moves to another entity all that refers to an entity, and deletes it.
func (e edit) absorb(to, old *Entity, keep []string) error {
	if err := e.moveAliases(to, old, keep); err != nil {
		return err
	}
	groups, err := e.memberships(anEntity, old.ID)
	if err != nil {
		return err
	}
	for _, m := range groups {
		if err := e.in(m.ns).join(m.group, anEntity, member{to.ID, e.ns}, m.via); err != nil {
			return err
		}
	}
	merged := append(slices.Clone(old.Merged), old.ID)
	if err := e.removeEntity(old); err != nil {
		return err
	}
	for _, id := range merged {
		if err := e.tx.Put(e.index(mergedInto, id), []byte(to.ID)); err != nil {
			return err
		}
	}
	to.Merged = append(to.Merged, merged...)
	return nil
}

func (e edit) moveAliases(to, old *Entity, keep []string) error {
	aliases, err := e.aliasesOf(old.ID)
	if err != nil {
		return err
	}
	for _, a := range aliases {
		if err := e.dropAlias(a); err != nil {
			return err
		}
		rival, err := e.aliasAt(e.index(aliasesOf, to.ID, a.Accessor))
		if err == nil {
			keepsOld, keepsRival := slices.Contains(keep, a.ID), slices.Contains(keep, rival.ID)
			switch {
			case keepsOld == keepsRival:
				return fault.Newf(fault.Invalid, `both entities have an alias at mount %q: name in "conflicting_alias_ids_to_keep" which of %s and %s stays`,
					a.Accessor, a.ID, rival.ID)
			case keepsRival:
				continue
			}
			if err := e.dropAlias(rival); err != nil {
				return err
			}
		} else if err := absent(err, nil); err != nil {
			return err
		}
		a.MergedFrom = append(a.MergedFrom, old.ID)
		a.Entity, a.Updated = to.ID, e.now
		if err := e.putAlias(a); err != nil {
			return err
		}
	}
	return nil
}

// survivor returns the entity that another was merged into.
func (v view) survivor(id string) (string, error) {
	to, err := v.r.Get(v.index(mergedInto, id))
	return string(to), err
}
