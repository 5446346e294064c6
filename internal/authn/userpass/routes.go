package userpass

import (
	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Type is the mount type "userpass".
var Type = authn.Type{
	Name:    "userpass",
	Routes:  routes(),
	New:     newMethod,
	Lockout: true,
	Doc:     "Logs people in with a user name and a password.",
}

func routes() []route.Endpoint {
	return []route.Endpoint{
		authn.Login("login/{username}", (*method).login, route.Doc{Summary: "Log in with a user name and a password."}),

		route.List("users", (*method).listUsers, route.Doc{Summary: "List the users."}),
		route.Read("users/{username}", (*method).readUser, route.Doc{Summary: "Read a user's settings."}),
		route.Write("users/{username}", (*method).writeUser, route.Exists((*method).userExists),
			route.Doc{Summary: "Create a user, or change the settings that are given."}),
		route.Delete("users/{username}", (*method).deleteUser, route.Doc{Summary: "Delete a user."}),
		route.Write("users/{username}/password", (*method).writePassword, route.Doc{Summary: "Change a user's password."}),
		route.Write("users/{username}/policies", (*method).writePolicies, route.Doc{Summary: "Change a user's policies."}),
	}
}

// The kinds of rows of a mount.
const (
	kindUser store.Kind = 1
	kindCost store.Kind = 2
)

// method is the instance of a mount.
type method struct {
	storage   engine.Storage
	passwords passwords
}

var (
	_ authn.AliasOf = (*method)(nil)
	_ authn.Renewer = (*method)(nil)
)

func newMethod(h authn.Host) (any, error) {
	return &method{storage: h.Storage, passwords: newPasswords()}, nil
}
