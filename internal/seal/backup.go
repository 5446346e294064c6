package seal

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// backupOf returns the backup that the rekey asked for, else nil.
func (c *Ceremony) backupOf(keys Keys) *Backup {
	if !c.rekey.request.Backup {
		return nil
	}
	b := &Backup{Nonce: c.rekey.old.nonce, Keys: map[string][]string{}, KeysBase64: map[string][]string{}}
	for i, r := range c.rekey.recipients {
		f := r.fingerprint()
		b.Keys[f] = append(b.Keys[f], keys.Keys[i])
		b.KeysBase64[f] = append(b.KeysBase64[f], keys.KeysBase64[i])
	}
	return b
}

// RekeyBackup returns the encrypted shares of the last rekey with a backup.
func (c *Ceremony) RekeyBackup(ctx context.Context) (Backup, error) {
	var out Backup
	b, err := c.Barrier()
	if err != nil {
		return out, err
	}
	err = b.View(ctx, func(r store.Reader) error {
		raw, err := r.Get(backupKey())
		if errors.Is(err, store.ErrNotFound) {
			return fault.New(fault.Invalid, "no backed-up keys found")
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, &out)
	})
	return out, err
}

// DeleteRekeyBackup removes the backup, if there is one.
func (c *Ceremony) DeleteRekeyBackup(ctx context.Context) error {
	b, err := c.Barrier()
	if err != nil {
		return err
	}
	_, err = b.Update(ctx, func(t store.Txn) error { return t.Delete(backupKey()) })
	return err
}
