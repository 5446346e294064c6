package seal

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Foundation is what a snapshot has that must fit before anything else in it can
// be read: the rows that the barrier does not seal.
type Foundation struct {
	config, info, keyring []byte
}

// Add notes a row of a snapshot, if it is one of the foundation's.
func (f *Foundation) Add(e store.Entry) {
	switch e.Key {
	case sealConfigKey():
		f.config = e.Value
	case clusterInfoKey():
		f.info = e.Value
	case store.NewKey(store.RootNamespace, store.System, store.KindKeyring):
		f.keyring = e.Value
	}
}

// The refusals of snapshots.
var (
	errNoFoundation = fault.New(fault.Invalid, "the snapshot is not of an initialised Coffer cluster: its seal configuration or keyring is missing or damaged")
	errOtherCluster = fault.New(fault.Invalid, "the snapshot is of another cluster; to restore it nevertheless use snapshot-force, and unseal with that cluster's keys")
	errOtherKeys    = fault.New(fault.Invalid, "the snapshot was made under other unseal keys, which are needed to read it; to restore it nevertheless use snapshot-force, and unseal with the keys of that time")
)

// CheckFoundation refuses a snapshot that nobody could unseal. Unless foreign is
// set it also refuses one of another cluster, or that does not open with the
// unseal key in use.
func (c *Ceremony) CheckFoundation(ctx context.Context, f *Foundation, foreign bool) error {
	config, err := parseSealConfig(f.config)
	if err != nil || len(f.keyring) == 0 {
		return errNoFoundation
	}
	var info clusterInfo
	if err := json.Unmarshal(f.info, &info); err != nil || info.ID == "" {
		return errNoFoundation
	}
	if foreign {
		return nil
	}
	_, own, err := c.config(ctx)
	if err != nil {
		return err
	}
	if own.ID != info.ID {
		return errOtherCluster
	}
	key, err := c.unsealKey(ctx)
	if err != nil {
		return err
	}
	defer key.Zero()
	root, err := config.unwrapRoot(ctx, keyWrapper{key}, info.ID)
	if errors.Is(err, ErrUnwrap) {
		return errOtherKeys
	}
	if err != nil {
		return err
	}
	defer root.Zero()
	if barrier.CheckKeyring(f.keyring, root, info.ID) != nil {
		return errNoFoundation
	}
	return nil
}
