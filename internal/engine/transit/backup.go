package transit

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// backup is a key in the clear, as JSON in base64.
type backup struct {
	// Format tells it from other servers' backups.
	Format   string             `json:"coffer_transit_backup"`
	Name     string             `json:"name"`
	Key      keyRow             `json:"key"`
	Versions map[int]versionRow `json:"versions"`
}

// backupFormat is the present format.
const backupFormat = "1"

type backupAnswer struct {
	Backup string `json:"backup"`
}

func (e *Engine) backupKey(ctx context.Context, c *route.Call, in nameRequest) (backupAnswer, error) {
	b := backup{Format: backupFormat, Name: in.Name}
	err := e.change(ctx, in.Name, func(tx store.Txn, row *keyRow) error {
		if !row.PlaintextBackup {
			return fault.New(fault.Invalid, "the key may not be backed up in the clear; set allow_plaintext_backup with keys/<name>/config to change that for ever")
		}
		if !row.Exportable {
			return errNotExportable
		}
		row.Backup = &occasion{c.Now, row.Latest}
		b.Key, b.Versions = *row, map[int]versionRow{}
		return e.versions(tx, row.ID, 0, func(n int, v versionRow) error {
			b.Versions[n] = v
			return nil
		})
	})
	if err != nil {
		return backupAnswer{}, err
	}
	text, err := json.Marshal(b)
	if err != nil {
		return backupAnswer{}, err
	}
	return backupAnswer{base64.StdEncoding.EncodeToString(text)}, nil
}

type restoreOptions struct {
	Backup string `json:"backup" sensitive:"true" doc:"What backup/<name> has answered; Vault's and OpenBao's are read too."`
	Force  bool   `json:"force" doc:"Replace a key of that name."`
}

type restoreRequest struct {
	restoreOptions
	Name string `json:"name" doc:"Name of the restored key; without it, the name in the backup."`
}

type restoreAsRequest struct {
	restoreOptions
	Name string `path:"name" doc:"Name of the restored key."`
}

func (e *Engine) restoreKeyAs(ctx context.Context, c *route.Call, in restoreAsRequest) (route.None, error) {
	return e.restoreKey(ctx, c, restoreRequest(in))
}

var errBackup = fault.New(fault.Invalid, "the backup could not be read: it must be what backup/<name> has answered, whole")

func (e *Engine) restoreKey(ctx context.Context, c *route.Call, in restoreRequest) (route.None, error) {
	b, err := parseBackup(in.Backup)
	if err != nil {
		return route.None{}, err
	}
	name := b.Name
	if in.Name != "" {
		name = in.Name
	}
	if err := engine.CheckName(name); err != nil {
		return route.None{}, err
	}
	b.Key.ID = rand.Text() // so that nothing of another key of that name is met
	b.Key.Restore = &occasion{c.Now, b.Key.Latest}
	return route.None{}, e.update(ctx, func(tx store.Txn) error {
		old, err := e.row(tx, name)
		switch {
		case err == nil && !in.Force:
			return fault.New(fault.Invalid, "a key of that name exists; give force=true to replace it")
		case err == nil:
			if err := e.remove(tx, name, &old); err != nil {
				return err
			}
		case !errors.Is(err, errNoKey):
			return err
		}
		for n, v := range b.Versions {
			if err := store.PutJSON(tx, e.versionKey(b.Key.ID, n), v); err != nil {
				return err
			}
		}
		return e.save(tx, name, &b.Key)
	})
}

// parseBackup reads a backup, and checks that every key in it can be used.
func parseBackup(text string) (*backup, error) {
	if text == "" {
		return nil, fault.New(fault.Invalid, "give the backup")
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errBackup
	}
	b := &backup{}
	if err := json.Unmarshal(raw, b); err != nil {
		return nil, errBackup
	}
	if b.Format == "" {
		if b, err = parseForeign(raw); err != nil {
			return nil, err
		}
	}
	if b.Format != backupFormat {
		return nil, errBackup
	}
	return b, b.check()
}

func (b *backup) check() error {
	row := &b.Key
	t, err := row.typ()
	switch {
	case err != nil, row.Latest < 1, row.MinAvailable < 0, row.MinEncryption < 0, row.MinDecryption < 0, row.AutoRotate < 0,
		row.MinDecryption > row.Latest, row.MinEncryption > row.Latest, row.MinAvailable > row.Latest,
		row.Derived && !t.Derives(), row.Convergent && !(row.Derived && t.Converges()):
		return errBackup
	}
	for n := max(row.MinAvailable, 1); n <= row.Latest; n++ {
		v, ok := b.Versions[n]
		if !ok {
			return errBackup
		}
		if _, err := v.parse(t); err != nil {
			return errBackup
		}
	}
	if len(b.Versions) != row.Latest-max(row.MinAvailable, 1)+1 {
		return errBackup
	}
	return nil
}
