package identity

import (
	"context"
	"errors"
	"slices"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// lookupRequest names an entity or group in one of four ways.
type lookupRequest struct {
	ID            string `json:"id" doc:"Its id."`
	Name          string `json:"name" doc:"Its name, exactly as it is spelt."`
	AliasID       string `json:"alias_id" doc:"Id of its alias."`
	AliasName     string `json:"alias_name" doc:"Name of its alias; with alias_mount_accessor."`
	AliasAccessor string `json:"alias_mount_accessor" doc:"Accessor of the mount of its alias; with alias_name."`
}

// check refuses a request that names nothing, or more than one thing.
func (in *lookupRequest) check() error {
	n := 0
	for _, text := range []string{in.ID, in.Name, in.AliasID, in.AliasName + in.AliasAccessor} {
		if text != "" {
			n++
		}
	}
	switch {
	case n == 0:
		return fault.New(fault.Invalid, `give "id", "name", "alias_id", or "alias_name" with "alias_mount_accessor"`)
	case n > 1:
		return fault.New(fault.Invalid, `give one of "id", "name", "alias_id", and "alias_name" with "alias_mount_accessor"`)
	case (in.AliasName == "") != (in.AliasAccessor == ""):
		return fault.New(fault.Invalid, `"alias_name" and "alias_mount_accessor" belong together`)
	}
	return nil
}

func (s *Store) lookupEntity(ctx context.Context, c *route.Call, in lookupRequest) (*entityAnswer, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	a, err := s.entityAnswer(ctx, c, func(v view) (*Entity, error) {
		if in.ID != "" || in.Name != "" {
			return v.find(in.ID, in.Name)
		}
		alias, err := v.findAlias(in.AliasID, aliasFields{Accessor: in.AliasAccessor, Name: in.AliasName})
		if err != nil {
			return nil, err
		}
		return v.entity(alias.Entity)
	})
	return a, found(err)
}

func (s *Store) lookupGroup(ctx context.Context, c *route.Call, in lookupRequest) (*groupAnswer, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	a, err := s.groupAnswer(ctx, c, func(v view) (*Group, error) {
		if in.ID != "" || in.Name != "" {
			return v.findGroup(in.ID, in.Name)
		}
		return v.mappedGroup(in.AliasID, groupAliasFields{Accessor: in.AliasAccessor, Name: in.AliasName})
	})
	return a, found(err)
}

// found makes a search that has found nothing a success without content.
func found(err error) error {
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// names lists the names of an index in their order.
func (s *Store) names(ctx context.Context, c *route.Call, index string) (route.Keys, error) {
	var list route.Keys
	err := s.read(ctx, c.Namespace.ID, func(v view) error {
		list.Keys = nil
		for e, err := range v.r.Scan(store.Under(v.index(index))) {
			if err != nil {
				return err
			}
			n, err := row[spelling](v.r, e.Key)
			if err != nil {
				return err
			}
			list.Keys = append(list.Keys, n.Name)
		}
		return nil
	})
	slices.Sort(list.Keys)
	return list, err
}
