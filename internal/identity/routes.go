package identity

import "github.com/cofferhq/coffer/internal/route"

// Routes are the endpoints of identity/. Their receiver is a *[Store].
var Routes = []route.Endpoint{
	route.Write("entity", (*Store).writeEntity, route.Doc{Summary: "Create an entity, or change the one with the id or name."}),
	route.List("entity/id", (*Store).listEntities, route.Doc{Summary: "List entities by id."}),
	route.Read("entity/id/{id}", (*Store).readEntity, route.Doc{Summary: "Read an entity."}),
	route.Write("entity/id/{id}", (*Store).writeEntityByID, route.Doc{Summary: "Change an entity."}),
	route.Delete("entity/id/{id}", (*Store).deleteEntity, route.Doc{Summary: "Delete an entity with its aliases. Tokens of it are refused from then on."}),
	route.List("entity/name", (*Store).listEntityNames, route.Doc{Summary: "List entities by name."}),
	route.Read("entity/name/{name}", (*Store).readEntityByName, route.Doc{Summary: "Read an entity by its name."}),
	route.Write("entity/name/{name}", (*Store).writeEntityByName, route.Doc{Summary: "Create or change an entity by its name."}),
	route.Delete("entity/name/{name}", (*Store).deleteEntityByName, route.Doc{Summary: "Delete an entity by its name."}),
	route.Write("entity/batch-delete", (*Store).batchDelete, route.Doc{Summary: "Delete several entities, all or none."}),
	route.Write("entity/merge", (*Store).merge, route.Doc{Summary: "Merge entities into one.", Description: "Aliases and memberships go to the entity that stays. Policies and metadata of the others end with them."}),

	route.Write("entity-alias", (*Store).writeAlias, route.Doc{Summary: "Create an alias of an entity, or change it."}),
	route.List("entity-alias/id", (*Store).listAliases, route.Doc{Summary: "List aliases of entities."}),
	route.Read("entity-alias/id/{id}", (*Store).readAlias, route.Doc{Summary: "Read an alias of an entity."}),
	route.Write("entity-alias/id/{id}", (*Store).writeAliasByID, route.Doc{Summary: "Change an alias of an entity."}),
	route.Delete("entity-alias/id/{id}", (*Store).deleteAlias, route.Doc{Summary: "Delete an alias of an entity."}),

	route.Write("group", (*Store).writeGroup, route.Doc{Summary: "Create a group, or change the one with the id or name."}),
	route.List("group/id", (*Store).listGroups, route.Doc{Summary: "List groups by id."}),
	route.Read("group/id/{id}", (*Store).readGroup, route.Doc{Summary: "Read a group."}),
	route.Write("group/id/{id}", (*Store).writeGroupByID, route.Doc{Summary: "Change a group."}),
	route.Delete("group/id/{id}", (*Store).deleteGroup, route.Doc{Summary: "Delete a group."}),
	route.List("group/name", (*Store).listGroupNames, route.Doc{Summary: "List groups by name."}),
	route.Read("group/name/{name}", (*Store).readGroupByName, route.Doc{Summary: "Read a group by its name."}),
	route.Write("group/name/{name}", (*Store).writeGroupByName, route.Doc{Summary: "Create or change a group by its name."}),
	route.Delete("group/name/{name}", (*Store).deleteGroupByName, route.Doc{Summary: "Delete a group by its name."}),

	route.Write("group-alias", (*Store).writeGroupAlias, route.Doc{Summary: "Map a group of an auth method to an external group."}),
	route.List("group-alias/id", (*Store).listGroupAliases, route.Doc{Summary: "List aliases of external groups."}),
	route.Read("group-alias/id/{id}", (*Store).readGroupAlias, route.Doc{Summary: "Read an alias of an external group."}),
	route.Write("group-alias/id/{id}", (*Store).writeGroupAliasByID, route.Doc{Summary: "Change an alias of an external group."}),
	route.Delete("group-alias/id/{id}", (*Store).deleteGroupAlias, route.Doc{Summary: "Delete an alias of an external group. Memberships by it end."}),

	route.Write("lookup/entity", (*Store).lookupEntity, route.Pure(), route.Doc{Summary: "Find an entity by id, name or alias."}),
	route.Write("lookup/group", (*Store).lookupGroup, route.Pure(), route.Doc{Summary: "Find a group by id, name or alias."}),

	// Older spellings of entity-alias.
	route.Write("alias", (*Store).writeAlias, route.Hidden()),
	route.List("alias/id", (*Store).listAliases, route.Hidden()),
	route.Read("alias/id/{id}", (*Store).readAlias, route.Hidden()),
	route.Write("alias/id/{id}", (*Store).writeAliasByID, route.Hidden()),
	route.Delete("alias/id/{id}", (*Store).deleteAlias, route.Hidden()),
	route.Write("persona", (*Store).writeAlias, route.Hidden()),
	route.List("persona/id", (*Store).listAliases, route.Hidden()),
	route.Read("persona/id/{id}", (*Store).readAlias, route.Hidden()),
	route.Write("persona/id/{id}", (*Store).writeAliasByID, route.Hidden()),
	route.Delete("persona/id/{id}", (*Store).deleteAlias, route.Hidden()),
}
