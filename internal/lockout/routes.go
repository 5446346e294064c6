package lockout

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Routes are the endpoints of sys/locked-users; their receiver is a [*Store].
var Routes = []route.Endpoint{
	route.Read("locked-users", (*Store).list, route.Doc{Summary: "List the users who are locked out after failed logins."}),
	route.Write("locked-users/{mount_accessor}/unlock/{alias_identifier...}", (*Store).unlock,
		route.Doc{Summary: "Unlock a user, and forget the user's failed logins."}),
}

type listRequest struct {
	Accessor string `json:"mount_accessor" doc:"Accessor of the only mount to list."`
}

// listAnswer has one element per namespace; a request sees its own only.
type listAnswer struct {
	Namespaces []lockedInNamespace `json:"by_namespace"`
	Total      int                 `json:"total"`
}

type lockedInNamespace struct {
	ID     string          `json:"namespace_id"`
	Path   string          `json:"namespace_path"`
	Counts int             `json:"counts"`
	Mounts []lockedAtMount `json:"mount_accessors"`
}

type lockedAtMount struct {
	Accessor string   `json:"mount_accessor"`
	Counts   int      `json:"counts"`
	Aliases  []string `json:"alias_identifiers"`
}

type unlockRequest struct {
	Accessor string `path:"mount_accessor" doc:"Accessor of the mount."`
	Alias    string `path:"alias_identifier" doc:"Name of the user, or role id of the application, as locked-users lists it."`
}

func (s *Store) list(ctx context.Context, c *route.Call, in listRequest) (listAnswer, error) {
	under := store.NewKey(c.Namespace.ID, store.System, store.KindLockout)
	if in.Accessor != "" {
		under = mountKey(c.Namespace.ID, in.Accessor)
	}
	here := lockedInNamespace{ID: "root", Path: c.Namespace.Path, Mounts: []lockedAtMount{}}
	if c.Namespace.ID != store.RootNamespace {
		here.ID = c.Namespace.UUID
	}
	err := s.Store.View(ctx, func(r store.Reader) error {
		for e, err := range r.Scan(store.Under(under)) {
			if err != nil {
				return err
			}
			if e.Key == hashKey(c.Namespace.ID) {
				continue
			}
			if err := s.collect(&here, e); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range here.Mounts {
		slices.Sort(here.Mounts[i].Aliases)
	}
	slices.SortStableFunc(here.Mounts, func(a, b lockedAtMount) int { return cmp.Compare(b.Counts, a.Counts) })
	answer := listAnswer{Namespaces: []lockedInNamespace{}, Total: here.Counts}
	if here.Counts > 0 {
		answer.Namespaces = append(answer.Namespaces, here)
	}
	return answer, err
}

// collect adds the locked aliases of a row. The rows of a mount follow one
// another.
func (s *Store) collect(here *lockedInNamespace, e store.Entry) error {
	parts, err := e.Key.Parts()
	if err != nil || len(parts) != 2 {
		return errors.New("decoding a key of locked users: malformed")
	}
	var b bucket
	if err := json.Unmarshal(e.Value, &b); err != nil {
		return errors.New("decoding locked users: malformed")
	}
	accessor := parts[0]
	limits := s.limits(e.Key.Namespace(), b.Type, accessor)
	if limits.off() {
		return nil
	}
	for i := range b.Entries {
		if b.Entries[i].counts(limits, s.Clock.Now()) < limits.Threshold {
			continue
		}
		last := len(here.Mounts) - 1
		if last < 0 || here.Mounts[last].Accessor != accessor {
			here.Mounts = append(here.Mounts, lockedAtMount{Accessor: accessor})
			last++
		}
		here.Mounts[last].Aliases = append(here.Mounts[last].Aliases, b.Entries[i].Alias)
		here.Mounts[last].Counts++
		here.Counts++
	}
	return nil
}

func (s *Store) unlock(ctx context.Context, c *route.Call, in unlockRequest) (route.None, error) {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		return s.forget(tx, place{c.Namespace.ID, in.Accessor, in.Alias})
	})
	return route.None{}, err
}
