package quota

import (
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Place is what a quota binds.
type Place struct {
	// Namespace is the path of the namespace, NS its id.
	Namespace string            `json:"namespace,omitempty"`
	NS        store.NamespaceID `json:"ns"`
	// Mount is zero for the whole namespace.
	Mount store.MountID `json:"mount,omitempty"`
	// Rest is a path below the mount, "" for all of it; with Glob everything
	// that begins with it.
	Rest string `json:"rest,omitempty"`
	Glob bool   `json:"glob,omitempty"`
	// Role narrows it to logins by a role of an auth method.
	Role string `json:"role,omitempty"`
	// Inheritable hands it down to the namespaces below.
	Inheritable bool `json:"inheritable,omitempty"`
}

// same reports whether two places bind the same requests.
func (p Place) same(o Place) bool {
	p.Inheritable, o.Inheritable = false, false
	return p == o
}

// The types of quotas, as the API names them.
const (
	rateLimit  = "rate-limit"
	leaseCount = "lease-count"
)

// The ways to tell the clients of a rate limit apart.
const (
	byIP             = "ip"
	byNone           = "none"
	byEntityThenIP   = "entity_then_ip"
	byEntityThenNone = "entity_then_none"
)

// rule is a quota's row: its place, and the fields of its type.
type rule struct {
	Place Place `json:"place"`
	// Owner is the path of the namespace that has written it.
	Owner string `json:"owner,omitempty"`

	Rate          float64       `json:"rate,omitempty"`
	Interval      time.Duration `json:"interval,omitempty"`
	BlockInterval time.Duration `json:"block_interval,omitempty"`
	GroupBy       string        `json:"group_by,omitempty"`
	SecondaryRate float64       `json:"secondary_rate,omitempty"`

	MaxLeases int `json:"max_leases,omitempty"`
}

// Rows lie under the root namespace, by type, namespace that wrote it, and
// name, so that one scan finds them all.
func typeKey(kind string, owner store.NamespaceID) store.Key {
	return allKey().Append(kind, store.Uint64Part(uint64(owner)))
}

func allKey() store.Key { return store.NewKey(store.RootNamespace, store.System, store.KindQuota) }

func ruleKey(kind string, owner store.NamespaceID, name string) store.Key {
	return typeKey(kind, owner).Append(name)
}

// parseKey returns the type and name in a row's key.
func parseKey(k store.Key) (kind, name string, ok bool) {
	parts, err := k.Parts()
	if err != nil || len(parts) != 3 {
		return "", "", false
	}
	return parts[0], parts[2], true
}

// path writes a place as clients do: relative to the namespace of the quota.
func (s *Store) path(r *rule) string {
	p := strings.TrimPrefix(r.Place.Namespace, r.Owner)
	if r.Place.Mount != 0 {
		if m, ok := s.Mount(r.Place.Mount); ok {
			p += m.Path
		}
	}
	p += r.Place.Rest
	if r.Place.Glob {
		p += "*"
	}
	return p
}

// target is where a request goes, as far as quotas look.
type target struct {
	namespace string
	mount     store.MountID
	rest      string
}

func targetOf(c *route.Call) target {
	return target{c.Namespace.Path, c.Mount.ID, strings.TrimSuffix(c.Path, "/")}
}
