package transit

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// minAutoRotate is the shortest period of automatic rotation, as in the field.
const minAutoRotate = time.Hour

// traits are what is fixed when a key is made.
type traits struct {
	Derived         bool          `json:"derived" doc:"Use another key for each context, derived from this one."`
	Exportable      bool          `json:"exportable" doc:"Let the key be exported; cannot be taken back."`
	PlaintextBackup bool          `json:"allow_plaintext_backup" doc:"Let the key be backed up in the clear; cannot be taken back."`
	AutoRotate      wire.Duration `json:"auto_rotate_period" doc:"Time after which a new version is made, at least an hour; 0 is never."`
	Type            string        `json:"type" default:"aes256-gcm96" doc:"Type of the key."`
	ParameterSet    string        `json:"parameter_set" doc:"Parameter set of a key of type ml-dsa: 44, 65 or 87."`
}

type createRequest struct {
	Name string `path:"name" doc:"Name of the key."`
	traits
	Convergent bool   `json:"convergent_encryption" doc:"Encrypt the same plaintext in the same context to the same ciphertext; needs derived."`
	KeySize    int    `json:"key_size" doc:"Length of an HMAC key in bytes, 32 to 512."`
	Context    string `json:"context" doc:"Accepted for symmetry; a context goes with the data."`
}

// newRow checks what a key is to be.
func (in *traits) newRow(convergent bool) (keyRow, material.Type, error) {
	t, err := material.ParseType(in.Type, in.ParameterSet)
	switch {
	case err != nil:
		return keyRow{}, 0, err
	case in.Derived && !t.Derives():
		return keyRow{}, 0, fault.Newf(fault.Invalid, "keys of type %s cannot be derived", t)
	case convergent && !in.Derived:
		return keyRow{}, 0, fault.New(fault.Invalid, "convergent_encryption needs derived=true")
	case convergent && !t.Converges():
		return keyRow{}, 0, fault.Newf(fault.Invalid, "keys of type %s cannot encrypt convergently", t)
	}
	if err := checkPeriod(in.AutoRotate); err != nil {
		return keyRow{}, 0, err
	}
	row := keyRow{
		ID: rand.Text(), Type: t.String(), Derived: in.Derived, Convergent: convergent, Exportable: in.Exportable,
		PlaintextBackup: in.PlaintextBackup, AutoRotate: in.AutoRotate, MinDecryption: 1,
	}
	return row, t, nil
}

func checkPeriod(d wire.Duration) error {
	if d != 0 && d.D() < minAutoRotate {
		return fault.New(fault.Invalid, "auto_rotate_period must be 0 or at least one hour")
	}
	return nil
}

func (e *Engine) createKey(ctx context.Context, c *route.Call, in createRequest) (*keyAnswer, error) {
	if err := engine.CheckName(in.Name); err != nil {
		return nil, err
	}
	if _, _, err := in.newRow(in.Convergent); err != nil {
		return nil, err // also of a key that is there
	}
	var exists bool
	err := e.view(ctx, func(r store.Reader) (err error) {
		exists, err = store.Exists(r, e.keyKey(in.Name))
		return err
	})
	if err != nil {
		return nil, err
	}
	if !exists {
		n, err := e.prepare(&in, c.Now)
		if err != nil {
			return nil, err
		}
		if _, err := e.store(ctx, n); err != nil {
			return nil, err
		}
	}
	return e.show(ctx, in.Name)
}

// newKey is a key that is not stored yet.
type newKey struct {
	name  string
	row   keyRow
	first versionRow
	key   *material.Key
}

// prepare makes a key, without storing it. An RSA key takes a while.
func (e *Engine) prepare(in *createRequest, now time.Time) (*newKey, error) {
	if err := engine.CheckName(in.Name); err != nil {
		return nil, err
	}
	row, t, err := in.newRow(in.Convergent)
	if err != nil {
		return nil, err
	}
	k, err := material.Generate(t, in.KeySize, e.host.Rand)
	if err != nil {
		return nil, err
	}
	row.Size = in.KeySize
	return e.asNew(in.Name, row, k, now)
}

// asNew makes a key of material.
func (e *Engine) asNew(name string, row keyRow, k *material.Key, now time.Time) (*newKey, error) {
	first, err := e.newVersion(k, now)
	return &newKey{name, row, first, k}, err
}

// use is the key as it will be when it is stored.
func (n *newKey) use() *key {
	row := n.row
	row.Latest = 1
	return &key{name: n.name, row: row, typ: n.key.Type(), versions: map[int]*version{1: {n: 1, created: n.first.Created, key: n.key, mac: n.first.MAC}}}
}

// store stores a new key, unless one of that name has come in between.
func (e *Engine) store(ctx context.Context, n *newKey) (stored bool, err error) {
	err = e.update(ctx, func(tx store.Txn) error {
		stored = false
		if exists, err := store.Exists(tx, e.keyKey(n.name)); err != nil || exists {
			return err
		}
		row := n.row // a retry begins anew
		if err := e.append(tx, &row, n.first); err != nil {
			return err
		}
		stored = true
		return e.save(tx, n.name, &row)
	})
	return stored, err
}

type configRequest struct {
	Name            string                  `path:"name" doc:"Name of the key."`
	MinDecryption   wire.Opt[int]           `json:"min_decryption_version" doc:"Oldest version that decrypts and verifies."`
	MinEncryption   wire.Opt[int]           `json:"min_encryption_version" doc:"Oldest version that encrypts and signs; 0 is the latest."`
	DeletionAllowed wire.Opt[bool]          `json:"deletion_allowed" doc:"Let the key be deleted."`
	Exportable      bool                    `json:"exportable" doc:"Let the key be exported; cannot be taken back."`
	PlaintextBackup bool                    `json:"allow_plaintext_backup" doc:"Let the key be backed up in the clear; cannot be taken back."`
	AutoRotate      wire.Opt[wire.Duration] `json:"auto_rotate_period" doc:"Time after which a new version is made, at least an hour; 0 is never."`
}

func (e *Engine) configureKey(ctx context.Context, _ *route.Call, in configRequest) (*keyAnswer, error) {
	err := e.change(ctx, in.Name, func(_ store.Txn, row *keyRow) error { return in.apply(row) })
	if err != nil {
		return nil, err
	}
	return e.show(ctx, in.Name)
}

func (in *configRequest) apply(row *keyRow) error {
	if in.MinDecryption.Set {
		row.MinDecryption = max(in.MinDecryption.Value, 1)
	}
	in.MinEncryption.Into(&row.MinEncryption)
	switch {
	case in.MinDecryption.Value < 0 || in.MinEncryption.Value < 0:
		return fault.New(fault.Invalid, "a minimum version must not be negative")
	case row.MinDecryption > row.Latest || row.MinEncryption > row.Latest:
		return fault.Newf(fault.Invalid, "a minimum version must be at most the latest version, %d", row.Latest)
	case row.MinDecryption < row.MinAvailable:
		return fault.Newf(fault.Invalid, "min_decryption_version must be at least min_available_version, %d: older versions are gone", row.MinAvailable)
	case row.MinEncryption > 0 && row.MinEncryption < row.MinDecryption:
		return fault.New(fault.Invalid, "min_encryption_version must be 0 or at least min_decryption_version")
	}
	in.DeletionAllowed.Into(&row.DeletionAllowed)
	row.Exportable = row.Exportable || in.Exportable
	row.PlaintextBackup = row.PlaintextBackup || in.PlaintextBackup
	if !in.AutoRotate.Set {
		return nil
	}
	if err := checkPeriod(in.AutoRotate.Value); err != nil {
		return err
	}
	if in.AutoRotate.Value > 0 {
		if err := row.mayRotate(); err != nil {
			return err
		}
	}
	row.AutoRotate = in.AutoRotate.Value
	return nil
}

type trimRequest struct {
	Name         string        `path:"name" doc:"Name of the key."`
	MinAvailable wire.Opt[int] `json:"min_available_version" doc:"Oldest version to keep."`
}

func (e *Engine) trimKey(ctx context.Context, _ *route.Call, in trimRequest) (*keyAnswer, error) {
	err := e.change(ctx, in.Name, func(tx store.Txn, row *keyRow) error {
		n := in.MinAvailable.Value
		switch {
		case !in.MinAvailable.Set || n < 1:
			return fault.New(fault.Invalid, "give min_available_version, the oldest version to keep")
		case n < row.MinAvailable:
			return fault.Newf(fault.Invalid, "min_available_version is %d already and cannot be lowered", row.MinAvailable)
		case row.MinEncryption == 0:
			return fault.New(fault.Invalid, "set the key's min_encryption_version first: a version that may still encrypt cannot be trimmed away")
		case n > row.MinEncryption || n > row.MinDecryption:
			return fault.New(fault.Invalid, "min_available_version must be at most min_decryption_version and min_encryption_version")
		}
		row.MinAvailable = n
		return e.deleteVersions(tx, row.ID, n)
	})
	if err != nil {
		return nil, err
	}
	return e.show(ctx, in.Name)
}

type renameRequest struct {
	Name    string `path:"name" doc:"Name of the key."`
	NewName string `json:"new_name" doc:"Its new name."`
}

// renameKey moves the one row that has the name; versions hang on the key's id.
func (e *Engine) renameKey(ctx context.Context, _ *route.Call, in renameRequest) (*keyAnswer, error) {
	if err := engine.CheckName(in.NewName); err != nil {
		return nil, err
	}
	err := e.update(ctx, func(tx store.Txn) error {
		row, err := e.row(tx, in.Name)
		if err != nil {
			return err
		}
		if exists, err := store.Exists(tx, e.keyKey(in.NewName)); err != nil {
			return err
		} else if exists {
			return fault.New(fault.Invalid, "another key has the new name")
		}
		if err := e.host.Timers.Cancel(tx, timerRotate+in.Name); err != nil {
			return err
		}
		if err := tx.Delete(e.keyKey(in.Name)); err != nil {
			return err
		}
		return e.save(tx, in.NewName, &row)
	})
	if err != nil {
		return nil, err
	}
	return e.show(ctx, in.NewName)
}

func (e *Engine) deleteKey(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	return route.None{}, e.update(ctx, func(tx store.Txn) error {
		row, err := e.row(tx, in.Name)
		if err != nil {
			return err
		}
		if !row.DeletionAllowed {
			return fault.New(fault.Invalid, "deletion is not allowed for this key; set deletion_allowed with keys/<name>/config first")
		}
		return e.remove(tx, in.Name, &row)
	})
}

// remove deletes a key with everything that belongs to it.
func (e *Engine) remove(tx store.Txn, name string, row *keyRow) error {
	if err := e.deleteVersions(tx, row.ID, 0); err != nil {
		return err
	}
	if err := e.host.Timers.Cancel(tx, timerRotate+name); err != nil {
		return err
	}
	return tx.Delete(e.keyKey(name))
}

func (e *Engine) softDelete(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	return route.None{}, e.change(ctx, in.Name, func(_ store.Txn, row *keyRow) error {
		row.SoftDeleted = true
		return nil
	})
}

func (e *Engine) softRestore(ctx context.Context, c *route.Call, in nameRequest) (*keyAnswer, error) {
	was := false
	err := e.change(ctx, in.Name, func(_ store.Txn, row *keyRow) error {
		was, row.SoftDeleted = row.SoftDeleted, false
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !was {
		c.Warn("the key was not softly deleted; nothing was changed")
	}
	return e.show(ctx, in.Name)
}
