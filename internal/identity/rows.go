package identity

import (
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// Entity is one person or service.
type Entity struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Policies []string          `json:"policies,omitempty"`
	Disabled bool              `json:"disabled,omitempty"`
	Created  time.Time         `json:"created"`
	Updated  time.Time         `json:"updated"`
	// Merged are the ids of entities that were merged into this one.
	Merged []string `json:"merged,omitempty"`
}

// Alias ties an entity to a name at an auth mount.
type Alias struct {
	ID       string `json:"id"`
	Entity   string `json:"entity"`
	Accessor string `json:"accessor"`
	Name     string `json:"name"`
	// Metadata is what the method says at login, Custom what people have set.
	Metadata map[string]string `json:"metadata,omitempty"`
	Custom   map[string]string `json:"custom,omitempty"`
	Created  time.Time         `json:"created"`
	Updated  time.Time         `json:"updated"`
	// MergedFrom are the entities that it belonged to before they were merged.
	MergedFrom []string `json:"merged_from,omitempty"`
}

// Types of groups.
const (
	internal = "internal"
	external = "external"
)

// Group is a set of entities and groups with policies for all of them.
type Group struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Type     string            `json:"type"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Policies []string          `json:"policies,omitempty"`
	Created  time.Time         `json:"created"`
	Updated  time.Time         `json:"updated"`
	// Index counts the changes.
	Index uint64 `json:"index"`
	// HasEntities and HasGroups say that members of the kind were given once,
	// so that none of them is an empty list and not null.
	HasEntities bool `json:"has_entities,omitempty"`
	HasGroups   bool `json:"has_groups,omitempty"`
	// Alias is the mapping of an external group.
	Alias *GroupAlias `json:"alias,omitempty"`

	ns store.NamespaceID // where it was found
}

// GroupAlias maps a name that an auth method gives its groups to a group.
type GroupAlias struct {
	ID       string    `json:"id"`
	Accessor string    `json:"accessor"`
	Name     string    `json:"name"`
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated"`
	// Mapping changes with what the alias maps. A membership counts only while
	// the mapping that it came by is the group's.
	Mapping string `json:"mapping"`
}

// via says by which mapping an entity became member of an external group, and
// where the other side of the membership is. It is zero for a member of the same
// namespace that people have put there.
type via struct {
	Accessor string `json:"accessor"`
	Mapping  string `json:"mapping"`
	// NS is the namespace of the other side: the member's in a row of the group,
	// the group's in one of the member. Zero is the row's own.
	NS store.NamespaceID `json:"ns,omitempty"`
}

// mapping is the row that a login finds a group by.
type mapping struct {
	Group   string `json:"group"`
	Mapping string `json:"mapping"`
}

// spelling is the row of a name: whose it is and how it is spelt.
type spelling struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Kinds of members in keys.
const (
	anEntity = "e"
	aGroup   = "g"
)

// First parts of the keys of indexes.
const (
	entityNames  = "entity-name"
	groupNames   = "group-name"
	aliasIDs     = "alias-id"
	aliasesOf    = "entity-alias"
	mergedInto   = "merged"
	mappings     = "group-alias"
	groupAliases = "group-alias-id"
	membersOf    = "member"
	groupsOf     = "member-of"
)

func (v view) key(kind store.Kind, parts ...string) store.Key {
	return store.NewKey(v.ns, store.System, kind, parts...)
}

func (v view) index(parts ...string) store.Key { return v.key(store.KindIdentityIndex, parts...) }

func (v view) aliasKey(accessor, name string) store.Key {
	return v.key(store.KindEntityAlias, accessor, fold(name))
}

// row reads a row. The error is [store.ErrNotFound] if there is none.
func row[T any](r store.Reader, key store.Key) (*T, error) {
	v, err := store.GetJSON[T](r, key)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

func (v view) entity(id string) (*Entity, error) {
	return row[Entity](v.r, v.key(store.KindEntity, id))
}

// entityNamed finds an entity by the exact spelling of its name.
func (v view) entityNamed(name string) (*Entity, error) {
	id, err := v.named(entityNames, name)
	if err != nil {
		return nil, err
	}
	return v.entity(id)
}

// named returns the id of what has a name, exactly as it is spelt.
func (v view) named(names, name string) (id string, err error) {
	n, err := row[spelling](v.r, v.index(names, fold(name)))
	if err != nil {
		return "", err
	}
	if n.Name != name {
		return "", store.ErrNotFound
	}
	return n.ID, nil
}

func (v view) group(id string) (*Group, error) {
	g, err := row[Group](v.r, v.key(store.KindGroup, id))
	if err == nil {
		g.ns = v.ns
	}
	return g, err
}

// groupNamed finds a group by the exact spelling of its name.
func (v view) groupNamed(name string) (*Group, error) {
	id, err := v.named(groupNames, name)
	if err != nil {
		return nil, err
	}
	return v.group(id)
}

func (v view) alias(accessor, name string) (*Alias, error) {
	return row[Alias](v.r, v.aliasKey(accessor, name))
}

func (v view) aliasByID(id string) (*Alias, error) { return v.aliasAt(v.index(aliasIDs, id)) }

// aliasAt follows an index row to an alias.
func (v view) aliasAt(index store.Key) (*Alias, error) {
	key, err := v.r.Get(index)
	if err != nil {
		return nil, err
	}
	return row[Alias](v.r, store.Key(key))
}

// aliasesOf returns an entity's aliases, of which there is one for a mount at
// most, in the order of accessors.
func (v view) aliasesOf(entity string) ([]*Alias, error) {
	var list []*Alias
	for e, err := range v.r.Scan(store.Under(v.index(aliasesOf, entity))) {
		if err != nil {
			return nil, err
		}
		a, err := row[Alias](v.r, store.Key(e.Value))
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

func (e edit) newID() (string, error) { return wire.NewUUID(e.rand) }

func (e edit) putAlias(a *Alias) error {
	key := e.aliasKey(a.Accessor, a.Name)
	if err := store.PutJSON(e.tx, key, a); err != nil {
		return err
	}
	if err := e.tx.Put(e.index(aliasIDs, a.ID), []byte(key)); err != nil {
		return err
	}
	// Also when it stays the same: this row tells the cache whose alias it is.
	return e.tx.Put(e.index(aliasesOf, a.Entity, a.Accessor), []byte(key))
}

func (e edit) dropAlias(a *Alias) error {
	return e.drop(e.aliasKey(a.Accessor, a.Name), e.index(aliasIDs, a.ID), e.index(aliasesOf, a.Entity, a.Accessor))
}

func (e edit) drop(keys ...store.Key) error {
	for _, k := range keys {
		if err := e.tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// absent turns the absence of a row into another error.
func absent(err, other error) error {
	if errors.Is(err, store.ErrNotFound) {
		return other
	}
	return err
}
