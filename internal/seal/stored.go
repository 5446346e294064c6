package seal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/seal/shamir"
	"github.com/cofferhq/coffer/internal/store"
)

// TypeShamir is the seal whose key is divided into shares.
const TypeShamir = "shamir"

// sealConfig is the stored description of the seal.
type sealConfig struct {
	// Type names the wrapper of RootKey.
	Type      string `json:"type"`
	Shares    int    `json:"shares"`
	Threshold int    `json:"threshold"`
	// RootKey is the root key, wrapped.
	RootKey []byte `json:"root_key"`
}

// clusterInfo names the cluster.
type clusterInfo struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func sealConfigKey() store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindSealConfig)
}

func clusterInfoKey() store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindClusterInfo)
}

// The rows behind the barrier.
func unsealKeyKey() store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindCeremony, "unseal-key")
}

func backupKey() store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindCeremony, "rekey-backup")
}

// validate checks what is read from the store as if a stranger had sent it.
func (c sealConfig) validate() error {
	if c.Type != TypeShamir {
		return fmt.Errorf("seal type %q is not known", c.Type)
	}
	if err := checkCounts(c.Shares, c.Threshold); err != nil {
		return err
	}
	if len(c.RootKey) == 0 {
		return errors.New("no wrapped root key")
	}
	return nil
}

// checkCounts holds for what clients ask for and for what is stored.
func checkCounts(shares, threshold int) error {
	switch {
	case shares < 1:
		return fault.New(fault.Invalid, "secret_shares must be at least 1")
	case shares > shamir.MaxShares:
		return fault.Newf(fault.Invalid, "secret_shares must be at most %d", shamir.MaxShares)
	case threshold < 1:
		return fault.New(fault.Invalid, "secret_threshold must be at least 1")
	case threshold > shares:
		return fault.New(fault.Invalid, "secret_threshold must not be larger than secret_shares")
	case shares > 1 && threshold == 1:
		return fault.New(fault.Invalid, "secret_threshold must be at least 2 when there are several shares")
	}
	return nil
}

// associatedData binds the wrapped root key to its description and cluster.
func (c sealConfig) associatedData(clusterID string) []byte {
	b := []byte("coffer seal\x00\x01")
	for _, text := range []string{c.Type, clusterID} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
		b = append(b, text...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(c.Shares))
	return binary.BigEndian.AppendUint32(b, uint32(c.Threshold))
}

func parseSealConfig(raw []byte) (sealConfig, error) {
	var c sealConfig
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("decoding seal configuration: %w", err)
	}
	if err := c.validate(); err != nil {
		// Not the client's fault, whatever kind the check gives.
		return c, fault.Wrap(fault.Internal, fmt.Errorf("stored seal configuration: %w", err), "")
	}
	return c, nil
}

// readConfig returns the seal's and the cluster's description, or
// errNotInitialized.
func readConfig(r store.Reader) (sealConfig, clusterInfo, error) {
	raw, err := r.Get(sealConfigKey())
	if errors.Is(err, store.ErrNotFound) {
		return sealConfig{}, clusterInfo{}, errNotInitialized
	}
	if err != nil {
		return sealConfig{}, clusterInfo{}, err
	}
	config, err := parseSealConfig(raw)
	if err != nil {
		return sealConfig{}, clusterInfo{}, err
	}
	var info clusterInfo
	if raw, err = r.Get(clusterInfoKey()); err != nil {
		return sealConfig{}, clusterInfo{}, fmt.Errorf("reading cluster info: %w", err)
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		return sealConfig{}, clusterInfo{}, fmt.Errorf("decoding cluster info: %w", err)
	}
	return config, info, nil
}

func putJSON(t store.Txn, key store.Key, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding row: %w", err)
	}
	return t.Put(key, raw)
}

func readUnsealKey(sealed store.Reader) (barrier.Key, error) {
	raw, err := sealed.Get(unsealKeyKey())
	if err != nil {
		return barrier.Key{}, fmt.Errorf("reading unseal key: %w", err)
	}
	return barrier.ParseKey(raw)
}
