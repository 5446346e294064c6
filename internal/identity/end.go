package identity

import (
	"context"

	"github.com/cofferhq/coffer/internal/store"
)

// End takes the members from other namespaces out of the groups of a namespace
// that goes. The groups themselves go with the namespace's rows.
func (s *Store) End(ctx context.Context, ns store.NamespaceID) error {
	var groups []string
	err := s.read(ctx, ns, func(v view) (err error) {
		groups, err = store.Children(v.r, v.index(membersOf), "", 0)
		return err
	})
	if err != nil {
		return err
	}
	for _, group := range groups {
		for more := true; more; {
			if err := s.change(ctx, ns, func(e edit) (err error) {
				more, err = e.dismiss(group)
				return err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}
