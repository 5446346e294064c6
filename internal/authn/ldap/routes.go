package ldap

import (
	"context"
	"log/slog"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Type is the mount type "ldap".
var Type = authn.Type{
	Name:    "ldap",
	Routes:  routes(),
	New:     newMethod,
	Lockout: true,
	Doc:     "Logs people in with the user name and password that a directory knows.",
}

func routes() []route.Endpoint {
	return []route.Endpoint{
		authn.Login("login/{username}", (*method).login, route.Doc{Summary: "Log in with a user name and a password of the directory."}),

		route.Read("config", (*method).readConfig, route.Doc{Summary: "Read how the directory is asked."}),
		route.Write("config", (*method).writeConfig, route.Doc{Summary: "Change the settings that are given."}),
		route.Write("config/rotate-root", (*method).rotateRoot, route.Doc{Summary: "Give the service account a new password that only Coffer knows."}),

		route.List("groups", (*method).listGroups, route.Doc{Summary: "List the groups that have policies."}),
		route.Read("groups/{name}", (*method).readGroup, route.Doc{Summary: "Read the policies of a group."}),
		route.Write("groups/{name}", (*method).writeGroup, route.Doc{Summary: "Set the policies of a group."}),
		route.Delete("groups/{name}", (*method).deleteGroup, route.Doc{Summary: "Forget the policies of a group."}),

		route.List("users", (*method).listUsers, route.Doc{Summary: "List the users that have policies or groups of their own."}),
		route.Read("users/{name}", (*method).readUser, route.Doc{Summary: "Read the policies and groups of a user."}),
		route.Write("users/{name}", (*method).writeUser, route.Doc{Summary: "Set the policies and groups of a user."}),
		route.Delete("users/{name}", (*method).deleteUser, route.Doc{Summary: "Forget the policies and groups of a user."}),
	}
}

// The kinds of rows of a mount.
const (
	kindConfig store.Kind = 1
	kindGroup  store.Kind = 2
	kindUser   store.Kind = 3
)

// method is the instance of a mount.
type method struct {
	storage   engine.Storage
	passwords func(ctx context.Context, policy string) (string, error)
	log       *slog.Logger
	// rotating holds one token: whoever has it may change the service account's
	// password.
	rotating chan struct{}
}

var (
	_ authn.AliasOf = (*method)(nil)
	_ authn.Renewer = (*method)(nil)
	_ authn.Grouper = (*method)(nil)
)

func newMethod(h authn.Host) (any, error) {
	return &method{storage: h.Storage, passwords: h.Passwords, log: h.Log, rotating: make(chan struct{}, 1)}, nil
}
