package kubernetes

import (
	"sync/atomic"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// podFiles is where a pod finds its token and the certificate of its API server.
const podFiles = "/var/run/secrets/kubernetes.io/serviceaccount"

// Type is the mount type "kubernetes".
var Type = typeOf(podFiles)

func typeOf(folder string) authn.Type {
	return authn.Type{
		Name:   "kubernetes",
		Routes: routes(),
		New: func(h authn.Host) (any, error) {
			return &method{storage: h.Storage, clock: h.Clock, pod: pod{folder}}, nil
		},
		Doc: "Logs pods in with the tokens of their service accounts.",
	}
}

func routes() []route.Endpoint {
	return []route.Endpoint{
		authn.Login("login", (*method).login, route.Doc{Summary: "Log in with a service account's token."}),

		route.Read("config", (*method).readConfig, route.Doc{Summary: "Read which cluster is trusted."}),
		route.Write("config", (*method).writeConfig, route.Doc{Summary: "Replace the settings that say which cluster is trusted."}),

		route.List("role", (*method).listRoles, route.Doc{Summary: "List the roles."}),
		route.Read("role/{name}", (*method).readRole, route.Doc{Summary: "Read a role."}),
		route.Write("role/{name}", (*method).writeRole, route.Exists((*method).roleExists),
			route.Doc{Summary: "Create a role, or change the settings that are given."}),
		route.Delete("role/{name}", (*method).deleteRole, route.Doc{Summary: "Delete a role."}),
	}
}

// The kinds of rows of a mount.
const (
	kindConfig store.Kind = 1
	kindRole   store.Kind = 2
)

// method is the instance of a mount.
type method struct {
	storage engine.Storage
	clock   clock.Clock
	pod     pod
	// api is what the configuration was made into last.
	api atomic.Pointer[api]
}

var (
	_ authn.Renewer = (*method)(nil)
	_ engine.Closer = (*method)(nil)
)

// Close lets go of connections to the API server.
func (m *method) Close() error {
	if a := m.api.Load(); a != nil {
		a.client.Close()
	}
	return nil
}
