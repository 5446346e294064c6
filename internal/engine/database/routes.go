package database

import (
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/route"
)

// Type is the engine with the drivers it can use.
func Type(drivers ...Driver) engine.Type {
	return engine.Type{
		Name:   "database",
		Doc:    "Hands out database users that end with their lease, and rotates the passwords of existing ones.",
		Routes: routes(),
		New: func(h engine.Host) (any, error) {
			return newEngine(h, drivers), nil
		},
	}
}

func routes() []route.Endpoint {
	return []route.Endpoint{
		route.List("config", (*Engine).listConnections, route.Doc{Summary: "List the connections."}),
		route.Read("config/{name}", (*Engine).readConnection, route.Doc{Summary: "Read a connection; its passwords are never shown."}),
		route.Write("config/{name}", (*Engine).writeConnection, route.Exists((*Engine).connectionExists),
			route.Doc{Summary: "Create or change a connection to a database.", Description: "Settings that an update does not mention stay as they are. Unless verify_connection is false the database must accept the connection first."}),
		route.Delete("config/{name}", (*Engine).deleteConnection, route.Doc{Summary: "Delete a connection.", Description: "Leases of users made through it cannot be revoked until it is there again."}),
		route.Write("reset/{name}", (*Engine).resetConnection, route.Doc{Summary: "Close a connection and open it anew when it is next used."}),
		route.Write("reload/{plugin}", (*Engine).reloadPlugin, route.Doc{Summary: "Reset all connections that use a plugin."}),
		route.Write("rotate-root/{name}", (*Engine).rotateRoot, route.Doc{Summary: "Change the password of the connection's own user; only the engine knows it afterwards."}),

		route.List("roles", (*Engine).listRoles, route.Doc{Summary: "List the roles."}),
		route.Read("roles/{name}", (*Engine).readRole, route.Doc{Summary: "Read a role."}),
		route.Write("roles/{name}", (*Engine).writeRole, route.Exists((*Engine).roleExists), route.Doc{Summary: "Create or change a role, for which users are made on request."}),
		route.Delete("roles/{name}", (*Engine).deleteRole, route.Doc{Summary: "Delete a role; users made for it stay until their leases end."}),
		engine.Issue(route.VerbRead, "creds/{name}", (*Engine).issue, route.Doc{Summary: "Make a new database user for a role, under a lease."}),

		route.List("static-roles", (*Engine).listStaticRoles, route.Doc{Summary: "List the static roles."}),
		route.Read("static-roles/{name}", (*Engine).readStaticRole, route.Doc{Summary: "Read a static role."}),
		route.Write("static-roles/{name}", (*Engine).writeStaticRole, route.Exists((*Engine).staticRoleExists),
			route.Doc{Summary: "Create or change a static role, which owns the password of an existing user.", Description: "Creating it changes the password at once, unless skip_import_rotation is set."}),
		route.Delete("static-roles/{name}", (*Engine).deleteStaticRole, route.Doc{Summary: "Delete a static role; the user keeps its last password."}),
		route.Read("static-creds/{name}", (*Engine).readStaticCredentials, route.Doc{Summary: "Read the current password of a static role."}),
		route.Write("rotate-role/{name}", (*Engine).rotateRole, route.Doc{Summary: "Change the password of a static role now."}),
	}
}
