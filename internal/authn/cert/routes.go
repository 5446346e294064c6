package cert

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// Type is the mount type "cert".
var Type = authn.Type{
	Name:   "cert",
	Routes: routes(),
	New:    newMethod,
	Doc:    "Logs in holders of TLS client certificates.",
}

func routes() []route.Endpoint {
	return []route.Endpoint{
		authn.Login("login", (*method).login, route.Doc{Summary: "Log in with the client certificate of the connection."}),

		route.Read("config", (*method).readConfig, route.Doc{Summary: "Read the settings of the mount."}),
		route.Write("config", (*method).writeConfig, route.Doc{Summary: "Change the settings of the mount that are given."}),

		route.List("certs", (*method).listRoles, route.Doc{Summary: "List the roles."}),
		route.Read("certs/{name}", (*method).readRole, route.Doc{Summary: "Read a role."}),
		route.Write("certs/{name}", (*method).writeRole, route.Doc{Summary: "Create a role, or change the settings that are given."}),
		route.Delete("certs/{name}", (*method).deleteRole, route.Doc{Summary: "Delete a role."}),

		route.List("crls", (*method).listLists, route.Doc{Summary: "List the revocation lists."}),
		route.Read("crls/{name}", (*method).readList, route.Doc{Summary: "Show the serial numbers of a revocation list."}),
		route.Write("crls/{name}", (*method).writeList, route.Doc{Summary: "Set a revocation list, or the URL that it is fetched from."}),
		route.Delete("crls/{name}", (*method).deleteList, route.Doc{Summary: "Delete a revocation list."}),
	}
}

// The kinds of rows of a mount.
const (
	kindConfig store.Kind = 1
	kindRole   store.Kind = 2
	kindList   store.Kind = 3
	kindDER    store.Kind = 4
)

// method is the instance of a mount.
type method struct {
	storage  engine.Storage
	timers   engine.Timers
	clock    clock.Clock
	rand     io.Reader
	outbound *authn.Outbound

	mu       sync.Mutex
	lists    map[string]*list // parsed, by name; guarded by mu
	verdicts verdicts
}

var (
	_ authn.Renewer       = (*method)(nil)
	_ engine.TimerHandler = (*method)(nil)
	_ engine.Closer       = (*method)(nil)
)

func newMethod(h authn.Host) (any, error) {
	return &method{storage: h.Storage, timers: h.Timers, clock: h.Clock, rand: h.Rand, outbound: authn.NewOutbound(nil), lists: map[string]*list{}}, nil
}

// Close lets go of connections to responders.
func (m *method) Close() error {
	m.outbound.Close()
	return nil
}

// config is a row.
type config struct {
	DisableBinding bool `json:"disable_binding,omitempty"`
	AliasMetadata  bool `json:"alias_metadata,omitempty"`
	OCSPCacheSize  int  `json:"ocsp_cache_size,omitempty"`
}

type configQuery struct{}

type configRequest struct {
	DisableBinding wire.Opt[bool] `json:"disable_binding" doc:"Lets tokens be renewed without the certificate that they were granted for."`
	AliasMetadata  wire.Opt[bool] `json:"enable_identity_alias_metadata" doc:"Keeps what is known of the certificate with the alias too."`
	OCSPCacheSize  wire.Opt[int]  `json:"ocsp_cache_size" doc:"How many answers of OCSP responders are kept while they are in force; 0 is 100."`
}

type configAnswer struct {
	DisableBinding bool `json:"disable_binding"`
	AliasMetadata  bool `json:"enable_identity_alias_metadata"`
	OCSPCacheSize  int  `json:"ocsp_cache_size"`
}

// config reads the settings; a mount that has none has the usual ones.
func (m *method) config(r store.Reader) (config, error) {
	c, err := store.GetJSON[config](r, m.storage.Key(kindConfig))
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return c, err
}

func (m *method) readConfig(ctx context.Context, _ *route.Call, _ configQuery) (a configAnswer, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		c, err := m.config(r)
		a = configAnswer(c)
		return err
	})
	return a, err
}

func (m *method) writeConfig(ctx context.Context, _ *route.Call, in configRequest) (route.None, error) {
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error {
		c, err := m.config(tx)
		if err != nil {
			return err
		}
		in.DisableBinding.Into(&c.DisableBinding)
		in.AliasMetadata.Into(&c.AliasMetadata)
		in.OCSPCacheSize.Into(&c.OCSPCacheSize)
		if c.OCSPCacheSize < 0 || c.OCSPCacheSize > maxVerdicts {
			return errCacheSize
		}
		return store.PutJSON(tx, m.storage.Key(kindConfig), &c)
	})
}
