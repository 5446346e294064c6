package identity

import (
	"context"
	"errors"
	"maps"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// errDenied is the answer to who may not be served; it does not tell why.
var errDenied = fault.New(fault.Denied, "permission denied")

// maxLoginMetadata bounds what a method may keep with an alias, in bytes.
const maxLoginMetadata = 32 << 10

// Login is the entity behind a login, as the method has established it.
type Login struct {
	NS       store.NamespaceID
	Accessor string
	// Name is the alias; without one there is no entity.
	Name     string
	Metadata map[string]string
	// Groups are what the method calls the user's groups.
	Groups []string
}

// check refuses what cannot be kept.
func (l *Login) check() error {
	if err := checkName("alias", l.Name, maxAliasName); err != nil {
		return err
	}
	n := 0
	for k, v := range l.Metadata {
		n += len(k) + len(v)
	}
	if n > maxLoginMetadata {
		return fault.Newf(fault.Invalid, "the alias's metadata has more than %d bytes", maxLoginMetadata)
	}
	return nil
}

// ForLogin returns the id of the entity behind a login. If something about it
// must be written (there is none yet, or the metadata or external groups are
// other ones than at the last login), write does so in the login's own
// transaction and returns the id, which may be that of an entity which another
// login has made meanwhile. A disabled entity is [fault.Denied].
func (s *Store) ForLogin(ctx context.Context, l Login) (id string, write func(store.Txn) (string, error), err error) {
	if l.Name == "" {
		return "", nil, nil
	}
	if err := l.check(); err != nil {
		return "", nil, err
	}
	current := false
	err = s.read(ctx, l.NS, func(v view) error {
		if id, current, err = s.unchanged(v, l); err != nil || current {
			return err
		}
		a, err := v.loginAlias(l)
		if err != nil {
			return err
		}
		id = a.Entity
		if current = maps.Equal(a.Metadata, l.Metadata); !current {
			return nil
		}
		_, current, err = v.regroup(id, l)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		id, err = "", nil
	}
	if err != nil || current {
		return id, nil, err
	}
	return id, func(tx store.Txn) (string, error) { return s.edit(tx, l.NS).login(l) }, nil
}

// unchanged reports whether a login without groups, which most are, finds
// everything as the one before left it. It looks at the alias and at the
// principal that is kept for requests, instead of the entity's row and a scan
// for its groups. False says nothing.
func (s *Store) unchanged(v view, l Login) (id string, same bool, err error) {
	if len(l.Groups) > 0 {
		return "", false, nil
	}
	a, err := v.alias(l.Accessor, l.Name)
	if err != nil {
		return "", false, err
	}
	p := s.cache.get(l.NS, a.Entity)
	switch {
	case p == nil || p.into != "" || p.joinedBy(l.Accessor) || !maps.Equal(a.Metadata, l.Metadata):
		return "", false, nil
	case p.Disabled():
		return "", false, errDenied
	}
	return a.Entity, true, nil
}

// loginAlias returns the alias of a login whose entity may log in.
func (v view) loginAlias(l Login) (*Alias, error) {
	a, err := v.alias(l.Accessor, l.Name)
	if err != nil {
		return nil, err
	}
	e, err := v.entity(a.Entity)
	if err == nil && e.Disabled {
		return nil, errDenied
	}
	return a, err
}

// login brings the rows in line with a login.
func (e edit) login(l Login) (string, error) {
	a, err := e.loginAlias(l)
	switch {
	case errors.Is(err, store.ErrNotFound):
		a, err = e.newAlias(aliasFields{Accessor: l.Accessor, Name: l.Name})
		if err != nil {
			return "", err
		}
		fallthrough
	case err == nil && !maps.Equal(a.Metadata, l.Metadata):
		a.Metadata, a.Updated = l.Metadata, e.now
		if err := e.putAlias(a); err != nil {
			return "", err
		}
	case err != nil:
		return "", err
	}
	return a.Entity, e.follow(a.Entity, l)
}

// follow makes the entity's external groups those that the login says.
func (e edit) follow(entity string, l Login) error {
	changes, _, err := e.regroup(entity, l)
	if err != nil {
		return err
	}
	for group, by := range changes {
		if by == (via{}) {
			err = e.leave(group, anEntity, member{entity, e.ns})
		} else {
			err = e.join(group, anEntity, member{entity, e.ns}, by)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// regroup compares the external groups that a login says with those that the
// entity has by its mount. Changes hold by which mapping to join a group, or
// nothing to leave it; current says that there are none.
func (v view) regroup(entity string, l Login) (changes map[string]via, current bool, err error) {
	changes = map[string]via{}
	for _, name := range l.Groups {
		m, err := v.mapping(l.Accessor, name)
		if errors.Is(err, store.ErrNotFound) {
			continue // a group that nobody has mapped
		}
		if err != nil {
			return nil, false, err
		}
		changes[m.Group] = via{Accessor: l.Accessor, Mapping: m.Mapping}
	}
	have, err := v.memberships(anEntity, entity)
	if err != nil {
		return nil, false, err
	}
	for _, m := range have {
		want, wanted := changes[m.group]
		switch {
		case wanted && want == m.via:
			delete(changes, m.group)
		case !wanted && m.via.Accessor == l.Accessor:
			changes[m.group] = via{}
		}
	}
	return changes, len(changes) == 0, nil
}

// ForRenewal returns what brings an entity's external groups in line with what
// the method that granted a token says when it is renewed, within the renewal's
// transaction; nil if they are. An entity that is gone or disabled is
// [fault.Denied].
func (s *Store) ForRenewal(ctx context.Context, entity string, l Login) (write func(store.Txn) error, err error) {
	p, err := s.Admit(ctx, l.NS, entity)
	if err != nil {
		return nil, err
	}
	current := false
	err = s.read(ctx, l.NS, func(v view) error {
		_, current, err = v.regroup(p.entity.ID, l)
		return err
	})
	if err != nil || current {
		return nil, err
	}
	return func(tx store.Txn) error { return s.edit(tx, l.NS).follow(p.entity.ID, l) }, nil
}
