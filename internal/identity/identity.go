// Package identity is the noun behind identity/: who stands behind the tokens.
//
// An entity is one person or service; an alias ties it to a name at one auth
// mount. The alias row is keyed by mount accessor and name, so that two entities
// can never claim the same login: whoever commits first has it, and the other
// login finds it there. Every row is its own; nothing grows with the number of
// entities.
package identity

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// Store is the noun.
type Store struct {
	store store.Store
	clock clock.Clock
	rand  io.Reader
}

// New returns the noun over a store.
func New(s store.Store, c clock.Clock, random io.Reader) *Store {
	return &Store{store: s, clock: c, rand: random}
}

// Entity is one person or service.
type Entity struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Metadata map[string]string `json:"metadata"`
	Policies []string          `json:"policies"`
	Disabled bool              `json:"disabled"`
	Created  time.Time         `json:"creation_time"`
	Updated  time.Time         `json:"last_update_time"`
	Aliases  []AliasRef        `json:"aliases"`
}

// AliasRef names an alias of an entity.
type AliasRef struct {
	Accessor string `json:"mount_accessor"`
	Name     string `json:"name"`
}

// Alias ties an entity to a name at a mount.
type Alias struct {
	ID       string            `json:"id"`
	Entity   string            `json:"canonical_id"`
	Metadata map[string]string `json:"metadata"`
	Created  time.Time         `json:"creation_time"`
	Updated  time.Time         `json:"last_update_time"`
}

func entityKey(ns store.NamespaceID, id string) store.Key {
	return store.NewKey(ns, store.System, store.KindEntity, id)
}

func nameKey(ns store.NamespaceID, name string) store.Key {
	return store.NewKey(ns, store.System, store.KindIdentityIndex, "entity-name", name)
}

func aliasKey(ns store.NamespaceID, accessor, name string) store.Key {
	return store.NewKey(ns, store.System, store.KindEntityAlias, accessor, name)
}

// Login is the entity behind a login.
type Login struct {
	NS       store.NamespaceID
	Accessor string
	Name     string
	Metadata map[string]string
}

// ForLogin returns the id of the entity behind a login. If there is none yet,
// create is not nil: it makes it in the login's own transaction and returns its
// id, or that of the one which another login has made meanwhile.
func (s *Store) ForLogin(ctx context.Context, l Login) (id string, create func(store.Txn) (string, error), err error) {
	if l.Name == "" {
		return "", nil, nil
	}
	err = s.store.View(ctx, func(r store.Reader) error {
		id, err = s.lookup(r, l)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return "", func(tx store.Txn) (string, error) { return s.create(tx, l) }, nil
	}
	return id, nil, err
}

func (s *Store) lookup(r store.Reader, l Login) (string, error) {
	a, err := store.GetJSON[Alias](r, aliasKey(l.NS, l.Accessor, l.Name))
	if err != nil {
		return "", err
	}
	e, err := store.GetJSON[Entity](r, entityKey(l.NS, a.Entity))
	if err != nil {
		return "", err
	}
	if e.Disabled {
		return "", fault.New(fault.Denied, "permission denied")
	}
	return e.ID, nil
}

func (s *Store) create(tx store.Txn, l Login) (string, error) {
	id, err := s.lookup(tx, l)
	if err == nil || !errors.Is(err, store.ErrNotFound) {
		return id, err
	}
	now := s.clock.Now()
	if id, err = wire.NewUUID(s.rand); err != nil {
		return "", err
	}
	aliasID, err := wire.NewUUID(s.rand)
	if err != nil {
		return "", err
	}
	e := Entity{ID: id, Name: "entity_" + id[:8], Created: now, Updated: now, Aliases: []AliasRef{{l.Accessor, l.Name}}}
	if taken, err := store.Exists(tx, nameKey(l.NS, e.Name)); err != nil {
		return "", err
	} else if taken {
		e.Name = "entity_" + id
	}
	if err := store.PutJSON(tx, entityKey(l.NS, id), e); err != nil {
		return "", err
	}
	if err := tx.Put(nameKey(l.NS, e.Name), []byte(id)); err != nil {
		return "", err
	}
	return id, store.PutJSON(tx, aliasKey(l.NS, l.Accessor, l.Name), Alias{ID: aliasID, Entity: id, Metadata: l.Metadata, Created: now, Updated: now})
}

// Routes are the endpoints of identity/.
var Routes = []route.Endpoint{
	route.Read("entity/id/{id}", (*Store).read, route.Doc{Summary: "Read an entity."}),
	route.Delete("entity/id/{id}", (*Store).remove, route.Doc{Summary: "Delete an entity and its aliases."}),
	route.List("entity/id", (*Store).list, route.Doc{Summary: "List entities by id."}),
}

type idRequest struct {
	ID string `path:"id" doc:"Id of the entity."`
}

func (s *Store) read(ctx context.Context, c *route.Call, in idRequest) (*Entity, error) {
	var e Entity
	err := s.store.View(ctx, func(r store.Reader) error {
		var err error
		e, err = store.GetJSON[Entity](r, entityKey(c.Namespace.ID, in.ID))
		return err
	})
	return &e, err
}

func (s *Store) remove(ctx context.Context, c *route.Call, in idRequest) (route.None, error) {
	_, err := s.store.Update(ctx, func(tx store.Txn) error {
		e, err := store.GetJSON[Entity](tx, entityKey(c.Namespace.ID, in.ID))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, a := range e.Aliases {
			if err := tx.Delete(aliasKey(c.Namespace.ID, a.Accessor, a.Name)); err != nil {
				return err
			}
		}
		if err := tx.Delete(nameKey(c.Namespace.ID, e.Name)); err != nil {
			return err
		}
		return tx.Delete(entityKey(c.Namespace.ID, e.ID))
	})
	return route.None{}, err
}

type noInput struct{}

func (s *Store) list(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	var ids []string
	err := s.store.View(ctx, func(r store.Reader) error {
		var err error
		ids, err = store.Children(r, store.NewKey(c.Namespace.ID, store.System, store.KindEntity), "", 0)
		return err
	})
	return route.Keys{Keys: ids}, err
}
