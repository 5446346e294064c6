package quota

import (
	"context"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// settings are what sys/quotas/config sets.
type settings struct {
	ResponseHeaders bool `json:"enable_rate_limit_response_headers"`
	AuditLogging    bool `json:"enable_rate_limit_audit_logging"`
	// ExemptPaths are paths in any namespace, AbsoluteExemptPaths begin with
	// that of their namespace.
	ExemptPaths         []string `json:"rate_limit_exempt_paths"`
	AbsoluteExemptPaths []string `json:"absolute_rate_limit_exempt_paths,omitempty"`
}

// defaultSettings exempt what an operator needs to look after the server.
func defaultSettings() settings {
	return settings{ExemptPaths: []string{
		"sys/generate-recovery-token/attempt", "sys/generate-recovery-token/update", "sys/generate-root/attempt", "sys/generate-root/update",
		"sys/health", "sys/seal-status", "sys/unseal",
	}}
}

func settingsKey() store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindConfig, "quotas")
}

// exempts reports whether no rate limit binds a path.
func (s *settings) exempts(namespace, path string) bool {
	for _, e := range s.ExemptPaths {
		if covers(e, path) {
			return true
		}
	}
	for _, e := range s.AbsoluteExemptPaths {
		// The namespace's path is cut off rather than the whole joined.
		if rest, ok := strings.CutPrefix(e, namespace); ok && rest != "" && covers(rest, path) {
			return true
		}
	}
	return false
}

// covers reports whether an exempt path is a path or whole segments at its
// beginning, or, ending in "*", any beginning.
func covers(exempt, path string) bool {
	if prefix, ok := strings.CutSuffix(exempt, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	exempt = strings.TrimSuffix(exempt, "/")
	return strings.HasPrefix(path, exempt) && (len(path) == len(exempt) || path[len(exempt)] == '/')
}

type noInput struct{}

func (s *Store) readConfig(context.Context, *route.Call, noInput) (settings, error) {
	return *s.config.Load(), nil
}

type configRequest struct {
	ResponseHeaders wire.Opt[bool]     `json:"enable_rate_limit_response_headers" doc:"Whether answers tell how much of a rate limit is left."`
	AuditLogging    wire.Opt[bool]     `json:"enable_rate_limit_audit_logging" doc:"Whether requests that a rate limit refuses are written to the audit devices."`
	ExemptPaths     wire.Opt[[]string] `json:"rate_limit_exempt_paths" doc:"Paths, in any namespace, that no rate limit binds, in whole segments or ending with *."`
	Absolute        wire.Opt[[]string] `json:"absolute_rate_limit_exempt_paths" doc:"The same with the path of their namespace before them."`
}

func (s *Store) writeConfig(ctx context.Context, _ *route.Call, in configRequest) (route.None, error) {
	for _, list := range []*wire.Opt[[]string]{&in.ExemptPaths, &in.Absolute} {
		for i, p := range list.Value {
			if list.Value[i] = strings.TrimPrefix(p, "/"); list.Value[i] == "" {
				return route.None{}, fault.New(fault.Invalid, "an exempt path is empty; delete the quotas to be without them")
			}
		}
	}
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		c, err := readSettings(tx)
		if err != nil {
			return err
		}
		in.ResponseHeaders.Into(&c.ResponseHeaders)
		in.AuditLogging.Into(&c.AuditLogging)
		in.ExemptPaths.Into(&c.ExemptPaths)
		in.Absolute.Into(&c.AbsoluteExemptPaths)
		if c.ExemptPaths == nil {
			c.ExemptPaths = []string{}
		}
		return store.PutJSON(tx, settingsKey(), c)
	})
	return route.None{}, err
}
