package barrier

import (
	"encoding/binary"
	"io"

	"github.com/cofferhq/coffer/internal/store"
)

const (
	handoverLen = nonceLen + KeySize + tagLen
	rowHead     = headerLen + handoverLen

	// labels separate these uses of a key from one another and from values,
	// whose associated data begins with a format version.
	keyringLabel  = "coffer keyring\x00"
	handoverLabel = "coffer root key\x00"
)

// keyringKey is where the keyring is stored.
func keyringKey() store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindKeyring)
}

func labelled(label, clusterID string, header []byte) []byte {
	b := append([]byte(label), byte(formatV1))
	b = binary.BigEndian.AppendUint32(b, uint32(len(clusterID)))
	b = append(b, clusterID...)
	return append(b, header...)
}

// sealKeyring returns the row for k under the root key.
func sealKeyring(k *keyring, root Key, clusterID string, rand io.Reader) ([]byte, error) {
	row := binary.BigEndian.AppendUint32([]byte{formatV1}, k.newest().term)
	data, err := newGCM(k.newest().key)
	if err != nil {
		return nil, err
	}
	if row, err = data.seal(row, root.Expose(), labelled(handoverLabel, clusterID, row), rand); err != nil {
		return nil, err
	}
	outer, err := newGCM(root)
	if err != nil {
		return nil, err
	}
	plain := k.appendTo(make([]byte, 0, keyringHead+len(k.keys)*dataKeyLen))
	defer clear(plain)
	return outer.seal(row, plain, labelled(keyringLabel, clusterID, row), rand)
}

// openKeyring opens a row with the root key.
func openKeyring(row []byte, root Key, clusterID string) (*keyring, error) {
	if len(row) < rowHead || row[0] != formatV1 || root.IsZero() {
		return nil, ErrUnreadable
	}
	outer, err := newGCM(root)
	if err != nil {
		return nil, err
	}
	plain, err := outer.open(nil, row[rowHead:], labelled(keyringLabel, clusterID, row[:rowHead]))
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	k, err := parseKeyring(plain)
	if err != nil {
		return nil, ErrUnreadable
	}
	if k.newest().term != binary.BigEndian.Uint32(row[1:]) {
		k.zero()
		return nil, ErrUnreadable
	}
	return k, nil
}

// openHandover returns the root key that a row hands over to whoever knows the
// data key it names.
func openHandover(row []byte, ciphers map[uint32]*termCipher, clusterID string) (Key, error) {
	if len(row) < rowHead || row[0] != formatV1 {
		return Key{}, ErrUnreadable
	}
	c := ciphers[binary.BigEndian.Uint32(row[1:])]
	if c == nil {
		return Key{}, ErrUnreadable
	}
	plain, err := c.gcm.open(nil, row[headerLen:rowHead], labelled(handoverLabel, clusterID, row[:headerLen]))
	if err != nil {
		return Key{}, err
	}
	defer clear(plain)
	return ParseKey(plain)
}
