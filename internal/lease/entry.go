package lease

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/store"
)

// Entry is a lease's record.
type Entry struct {
	ID string            `json:"-"`
	NS store.NamespaceID `json:"-"`
	// Token is the handle of the token that this row stands for; such a row
	// has no other field.
	Token []byte        `json:"token,omitempty"`
	Mount store.MountID `json:"mount,omitempty"`
	// Owner is the handle of the token that holds the lease, or of the one that
	// made the batch token that does; empty for a batch token without a parent,
	// whose leases end with it by their own time.
	Owner     []byte        `json:"owner,omitempty"`
	Payload   []byte        `json:"payload,omitempty"`
	Issued    time.Time     `json:"issued,omitzero"`
	Expires   time.Time     `json:"expires,omitzero"`
	Renewed   time.Time     `json:"renewed,omitzero"`
	TTL       time.Duration `json:"ttl,omitempty"`
	MaxTTL    time.Duration `json:"max_ttl,omitempty"`
	Renewable bool          `json:"renewable,omitempty"`
	// OwnerEnds is the end of a batch token that holds the lease.
	OwnerEnds time.Time `json:"owner_ends,omitzero"`
	// Retry is when the next attempt to undo the grant is due, after one has
	// failed; the lease's item is there then.
	Retry time.Time `json:"retry,omitzero"`
	// Revoking marks a lease whose grant is being undone.
	Revoking bool `json:"revoking,omitempty"`
}

func leaseKey(ns store.NamespaceID, id string) store.Key {
	return store.NewKey(ns, store.System, store.KindLease, strings.Split(id, "/")...)
}

// Under returns the key above all leases of a path in whole segments; "" is the
// whole namespace.
func Under(ns store.NamespaceID, path string) store.Key {
	if path == "" {
		return store.NewKey(ns, store.System, store.KindLease)
	}
	return leaseKey(ns, path)
}

func ownerKey(owner []byte) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindLeaseOwner, string(owner))
}

// ownedPart names a lease among its owner's: namespace and id.
func ownedPart(ns store.NamespaceID, id string) string { return store.Uint64Part(uint64(ns)) + id }

func splitOwned(part string) (store.NamespaceID, string, bool) {
	if len(part) < 8 {
		return 0, "", false
	}
	n, ok := store.ParseUint64Part(part[:8])
	return store.NamespaceID(n), part[8:], ok
}

func (e *Entry) item() expiry.Item {
	at := e.Expires
	if !e.Retry.IsZero() {
		at = e.Retry
	}
	return expiry.Item{Queue: e.Mount, Class: expiry.Lease, ID: ownedPart(e.NS, e.ID), At: at}
}

func get(r store.Reader, ns store.NamespaceID, id string) (*Entry, error) {
	b, err := r.Get(leaseKey(ns, id))
	if err != nil {
		return nil, err
	}
	return decode(b, ns, id)
}

func decode(b []byte, ns store.NamespaceID, id string) (*Entry, error) {
	e := new(Entry)
	if err := json.Unmarshal(b, e); err != nil {
		return nil, errors.New("decoding a lease: malformed")
	}
	e.NS, e.ID = ns, id
	return e, nil
}

func put(tx store.Txn, e *Entry) error { return store.PutJSON(tx, leaseKey(e.NS, e.ID), e) }

// remove deletes the rows of a lease but its item in the expiry index.
func remove(tx store.Txn, e *Entry) error {
	if len(e.Owner) > 0 {
		if err := tx.Delete(ownerKey(e.Owner).Append(ownedPart(e.NS, e.ID))); err != nil {
			return err
		}
	}
	return tx.Delete(leaseKey(e.NS, e.ID))
}

// tokenID is the id under which a token stands among the leases of the path
// that granted it.
func tokenID(path, handle string) string {
	return strings.Trim(path, "/") + "/h" + hex.EncodeToString([]byte(handle))
}

// PutToken records that path granted a token, in the token's transaction.
func PutToken(tx store.Txn, ns store.NamespaceID, path, handle string) error {
	e := &Entry{ID: tokenID(path, handle), NS: ns, Token: []byte(handle)}
	return put(tx, e)
}

// RemoveToken takes that record away.
func RemoveToken(tx store.Txn, ns store.NamespaceID, path, handle string) error {
	return tx.Delete(leaseKey(ns, tokenID(path, handle)))
}
