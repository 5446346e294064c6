package membership

import (
	"context"
	"errors"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// nodeRow is what the cluster stores of a node.
type nodeRow struct {
	// Key is the fingerprint of its key.
	Key string `json:"key"`
	// Voter says that it is to vote once it has caught up.
	Voter bool `json:"voter"`
}

func nodesKey() store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindNode)
}

func nodeKey(id string) store.Key { return nodesKey().Append(id) }

func authorityKey() store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindAuthority)
}

// Own are the rows that restoring a backup leaves as they are.
func Own() []store.Range {
	return []store.Range{store.Under(nodesKey()), store.Under(authorityKey())}
}

// nodeRows reads what is stored of the nodes.
func nodeRows(r store.Reader) (map[string]nodeRow, error) {
	rows := map[string]nodeRow{}
	ids, err := store.Children(r, nodesKey(), "", 0)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		row, err := store.GetJSON[nodeRow](r, nodeKey(id))
		if errors.Is(err, fault.Internal) {
			continue // of another keyring, after a backup was forced in
		}
		if err != nil {
			return nil, err
		}
		rows[id] = row
	}
	return rows, nil
}

// readPins notes the keys of the nodes, while this one can read them.
func (s *Service) readPins(ctx context.Context) error {
	b := s.Barrier()
	if b == nil {
		return nil
	}
	return b.View(ctx, func(r store.Reader) error {
		rows, err := nodeRows(r)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		clear(s.pins)
		for id, row := range rows {
			s.pins[id] = row.Key
		}
		return nil
	})
}
