// Package identity is the noun behind identity/: who stands behind the tokens.
//
// An entity is one person or service. An alias ties it to a name at one auth
// mount, so that logins by different methods reach the same entity. A group has
// entities and other groups as members; an external one follows what an auth
// method says of its users. Policies of an entity, of its groups and of the
// groups above those add to a token's own, and templated policies speak of the
// entity's values.
//
// # Rows
//
// Every thing is a row of its own, and every relation is a row in each
// direction, so that nothing grows with the number of entities and a login
// never scans:
//
//	KindEntity         id                             Entity
//	KindEntityAlias    accessor, folded name          Alias
//	KindGroup          id                             Group, with its alias
//	KindIdentityIndex  "entity-name", folded name     spelling: id and name
//	                   "group-name", folded name      the same of a group
//	                   "alias-id", id                 key of the alias
//	                   "entity-alias", entity, accessor  key of the alias
//	                   "merged", old entity           entity that it was merged into
//	                   "group-alias", accessor, folded name  mapping
//	                   "group-alias-id", id           group's id
//	                   "member", group, kind, member  via
//	                   "member-of", kind, member, group  via
//
// Uniqueness is a property of the keys: an alias is at its accessor and name, so
// whoever commits first has it and another login finds it there. Names are
// unique whatever the case of their ASCII letters, and found only as they are
// spelt, since policies speak of spelt paths.
//
// # In memory
//
// What a request needs of its entity is a [Principal], in a bounded cache that
// the change feed keeps right: a change is in force when the Update that made it
// returns. Nothing is written to a cached value, and a refused write has written
// nothing at all.
package identity
