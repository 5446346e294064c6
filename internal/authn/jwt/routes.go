package jwt

import (
	"io"
	"slices"
	"sync/atomic"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Type is the mount type "jwt".
var Type = authn.Type{
	Name:   "jwt",
	Routes: routes(),
	New:    newMethod,
	Doc:    "Logs in holders of signed tokens of another system, and people through an OpenID Connect provider.",
}

// OIDCType is the same method under the name that people look for.
var OIDCType = authn.Type{
	Name:   "oidc",
	Routes: routes(),
	New:    newMethod,
	Doc:    "Logs people in through an OpenID Connect provider, and holders of its tokens.",
}

func routes() []route.Endpoint {
	return slices.Concat(oidcRoutes(), []route.Endpoint{
		authn.Login("login", (*method).login, route.Doc{Summary: "Log in with a signed token."}),

		route.Read("config", (*method).readConfig, route.Doc{Summary: "Read which issuer is trusted."}),
		route.Write("config", (*method).writeConfig, route.Doc{Summary: "Replace the settings that say which issuer is trusted."}),

		route.List("role", (*method).listRoles, route.Doc{Summary: "List the roles."}),
		route.Read("role/{name}", (*method).readRole, route.Doc{Summary: "Read a role."}),
		route.Write("role/{name}", (*method).writeRole, route.Exists((*method).roleExists),
			route.Doc{Summary: "Create a role, or change the settings that are given."}),
		route.Delete("role/{name}", (*method).deleteRole, route.Doc{Summary: "Delete a role."}),
	})
}

// The kinds of rows of a mount.
const (
	kindConfig    store.Kind = 1
	kindRole      store.Kind = 2
	kindStateKey  store.Kind = 3
	kindUsed      store.Kind = 4
	kindUsedUntil store.Kind = 5
)

// method is the instance of a mount.
type method struct {
	storage engine.Storage
	timers  engine.Timers
	clock   clock.Clock
	rand    io.Reader
	// trusted is what the configuration was made into last.
	trusted atomic.Pointer[trust]
}

var (
	_ authn.Renewer       = (*method)(nil)
	_ engine.TimerHandler = (*method)(nil)
	_ engine.Closer       = (*method)(nil)
)

func newMethod(h authn.Host) (any, error) {
	return &method{storage: h.Storage, timers: h.Timers, clock: h.Clock, rand: h.Rand}, nil
}

// Close lets go of connections to the issuer.
func (m *method) Close() error {
	if t := m.trusted.Load(); t != nil {
		t.close()
	}
	return nil
}
