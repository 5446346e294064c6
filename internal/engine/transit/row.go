package transit

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// keyRow is what is stored of a key beside its versions. It has a fixed size.
type keyRow struct {
	// ID names the rows of the versions.
	ID   string
	Type string
	// Size is the length of new versions of an HMAC key in bytes.
	Size int `json:",omitempty"`

	Derived, Convergent bool `json:",omitempty"`

	Exportable, PlaintextBackup, DeletionAllowed, SoftDeleted bool `json:",omitempty"`

	// Imported says that the latest version came from elsewhere; WasImported
	// that the first one did, and AllowRotation that the server may make others.
	Imported, WasImported, AllowRotation bool `json:",omitempty"`

	// Latest is the newest version, MinAvailable the oldest that is not trimmed
	// away (0 if none was).
	Latest, MinDecryption, MinEncryption, MinAvailable int

	AutoRotate wire.Duration `json:",omitempty"`
	// Rotated is when the latest version was made.
	Rotated time.Time

	Backup  *occasion `json:",omitempty"`
	Restore *occasion `json:",omitempty"`
}

// occasion is when something was done to which version.
type occasion struct {
	Time    time.Time `json:"time"`
	Version int       `json:"version"`
}

// versionRow is one version's key.
type versionRow struct {
	Created time.Time
	// Secret is the key as package material stores it, Public the public half of
	// one that has no more.
	Secret []byte `json:",omitempty"`
	Public []byte `json:",omitempty"`
	// MAC is the key for HMAC beside it.
	MAC []byte `json:",omitempty"`
	// Chain is a certificate chain in DER, the key's own first.
	Chain [][]byte `json:",omitempty"`
}

func (e *Engine) keyKey(name string) store.Key { return e.host.Storage.Key(kindKey, name) }

func (e *Engine) versionKey(id string, n int) store.Key {
	return e.host.Storage.Key(kindVersion, id, store.Uint64Part(uint64(n)))
}

// row reads a key's row. It is absent with errNoKey.
func (e *Engine) row(r store.Reader, name string) (keyRow, error) {
	row, err := store.GetJSON[keyRow](r, e.keyKey(name))
	if isAbsent(err) {
		return row, errNoKey
	}
	return row, err
}

// save writes a key's row and keeps the timer of its rotation right.
func (e *Engine) save(tx store.Txn, name string, row *keyRow) error {
	if err := store.PutJSON(tx, e.keyKey(name), row); err != nil {
		return err
	}
	if row.AutoRotate <= 0 {
		return e.host.Timers.Cancel(tx, timerRotate+name)
	}
	return e.host.Timers.Schedule(tx, timerRotate+name, row.Rotated.Add(row.AutoRotate.D()))
}

// change reads a key's row, lets fn change it, and writes it back.
func (e *Engine) change(ctx context.Context, name string, fn func(tx store.Txn, row *keyRow) error) error {
	return e.update(ctx, func(tx store.Txn) error {
		row, err := e.row(tx, name)
		if err != nil {
			return err
		}
		if err := fn(tx, &row); err != nil {
			return err
		}
		return e.save(tx, name, &row)
	})
}

func (e *Engine) version(r store.Reader, id string, n int) (versionRow, error) {
	row, err := store.GetJSON[versionRow](r, e.versionKey(id, n))
	if isAbsent(err) {
		return row, errNoVersion
	}
	return row, err
}

// newVersion makes the row of a version that belongs to key.
func (e *Engine) newVersion(key *material.Key, now time.Time) (versionRow, error) {
	row := versionRow{Created: now, Secret: key.Secret()}
	var err error
	if !key.Private() {
		if row.Public, err = key.PublicDER(); err != nil {
			return row, fmt.Errorf("encoding a public key: %w", err)
		}
	}
	if key.Type() != material.HMAC {
		row.MAC, err = material.NewMACKey(e.host.Rand)
	}
	return row, err
}

// parse makes a version's key ready for use.
func (v *versionRow) parse(t material.Type) (*material.Key, error) {
	var key *material.Key
	var err error
	if v.Secret != nil {
		key, err = material.Parse(t, v.Secret)
	} else {
		key, err = material.ParsePublic(t, v.Public)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a stored key of type %s: %v", t, err) // not wrapped: it is our row that is bad
	}
	return key, nil
}

// append adds a version to a key.
func (e *Engine) append(tx store.Txn, row *keyRow, v versionRow) error {
	row.Latest++
	row.Rotated = v.Created
	return store.PutJSON(tx, e.versionKey(row.ID, row.Latest), v)
}

// versions calls fn with the versions from a number on, in order.
func (e *Engine) versions(r store.Reader, id string, from int, fn func(n int, v versionRow) error) error {
	table := e.host.Storage.Key(kindVersion, id)
	for entry, err := range r.Scan(store.From(table, store.Uint64Part(uint64(max(from, 0))))) {
		if err != nil {
			return err
		}
		n, ok := store.ParseUint64Part(entry.Key.Last())
		if !ok {
			return fmt.Errorf("reading versions: bad key")
		}
		v, err := store.GetJSON[versionRow](r, entry.Key)
		if err != nil {
			return err
		}
		if err := fn(int(n), v); err != nil {
			return err
		}
	}
	return nil
}

// deleteVersions removes the versions before a number, all if it is 0.
func (e *Engine) deleteVersions(tx store.Txn, id string, before int) error {
	r := store.Under(e.host.Storage.Key(kindVersion, id))
	if before > 0 {
		r.End = e.versionKey(id, before)
	}
	var doomed []store.Key
	for entry, err := range tx.Scan(r) {
		if err != nil {
			return err
		}
		doomed = append(doomed, entry.Key)
	}
	for _, k := range doomed {
		if err := tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// oldest is the first version that may decrypt and verify.
func (r *keyRow) oldest() int { return max(r.MinDecryption, r.MinAvailable, 1) }

// typ is the key's type.
func (r *keyRow) typ() (material.Type, error) {
	t, err := material.ParseType(r.Type, "")
	if err != nil {
		return 0, fmt.Errorf("reading a key: unknown type %q", r.Type)
	}
	return t, nil
}

// parseVersion reads the number of a version from a path: "latest", "" or digits.
func (r *keyRow) parseVersion(text string) (int, error) {
	if text == "latest" {
		return r.Latest, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fault.New(fault.Invalid, `the version in the path must be a number or "latest"`)
	}
	if n < r.oldest() || n > r.Latest {
		return 0, errNoVersion
	}
	return n, nil
}
