package approle

import (
	"io"
	"slices"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Type is the mount type "approle".
var Type = authn.Type{
	Name:    "approle",
	Routes:  routes(),
	New:     newMethod,
	Lockout: true,
	Doc:     "Logs applications in with a role id and a secret id.",
}

func routes() []route.Endpoint {
	return slices.Concat([]route.Endpoint{
		authn.Login("login", (*method).login, route.Doc{Summary: "Log in with a role id and a secret id."}),

		route.List("role", (*method).listRoles, route.Doc{Summary: "List the roles."}),
		route.Read("role/{role_name}", (*method).readRole, route.Doc{Summary: "Read a role."}),
		route.Write("role/{role_name}", (*method).writeRole, route.Exists((*method).roleExists),
			route.Doc{Summary: "Create a role, or change the settings that are given."}),
		route.Delete("role/{role_name}", (*method).deleteRole, route.Doc{Summary: "Delete a role and its secret ids."}),
		route.Read("role/{role_name}/role-id", (*method).readRoleID, route.Doc{Summary: "Read a role's id."}),
		route.Write("role/{role_name}/role-id", (*method).writeRoleID, route.Doc{Summary: "Choose a role's id."}),
	}, secretIDRoutes(), fieldRoutes(), []route.Endpoint{
		route.Full(route.VerbWrite, "tidy/secret-id", (*method).tidy,
			route.Doc{Summary: "Remove what is left of expired secret ids. Nothing needs tidying; the answer says so."}),
	})
}

func secretIDRoutes() []route.Endpoint {
	const at = "role/{role_name}/"
	return []route.Endpoint{
		route.List(at+"secret-id", (*method).listSecretIDs, route.Doc{Summary: "List the accessors of a role's secret ids."}),
		route.Write(at+"secret-id", (*method).generate, route.Doc{Summary: "Make a secret id."}),
		route.Write(at+"custom-secret-id", (*method).writeCustom, route.Doc{Summary: "Make a secret id of the given text."}),
		route.Write(at+"secret-id/lookup", (*method).lookup, route.Doc{Summary: "Show a secret id's properties."}, route.Pure()),
		route.Write(at+"secret-id/destroy", (*method).destroy, route.Doc{Summary: "Destroy a secret id."}),
		route.Delete(at+"secret-id/destroy", (*method).destroy, route.Doc{Summary: "Destroy a secret id."}),
		route.Full(route.VerbWrite, at+"secret-id-accessor/lookup", (*method).lookupAccessor,
			route.Doc{Summary: "Show the properties of the secret id of an accessor."}, route.Pure()),
		route.Write(at+"secret-id-accessor/destroy", (*method).destroyAccessor, route.Doc{Summary: "Destroy the secret id of an accessor."}),
		route.Delete(at+"secret-id-accessor/destroy", (*method).destroyAccessor, route.Doc{Summary: "Destroy the secret id of an accessor."}),
	}
}

// The kinds of rows of a mount.
const (
	kindRole     store.Kind = 1
	kindName     store.Kind = 2
	kindSecretID store.Kind = 3
	kindAccessor store.Kind = 4
	kindExpiry   store.Kind = 5
	kindDropped  store.Kind = 6
)

// method is the instance of a mount.
type method struct {
	storage engine.Storage
	timers  engine.Timers
	clock   clock.Clock
	rand    io.Reader
}

var (
	_ authn.AliasOf       = (*method)(nil)
	_ authn.Renewer       = (*method)(nil)
	_ engine.TimerHandler = (*method)(nil)
)

func newMethod(h authn.Host) (any, error) {
	return &method{storage: h.Storage, timers: h.Timers, clock: h.Clock, rand: h.Rand}, nil
}
