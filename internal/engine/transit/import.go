package transit

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// wrappingType is the type of the key that imports are wrapped with. Clients
// rely on its size.
const wrappingType = material.RSA4096

// wrappingKey returns the mount's wrapping key, and makes it if there is none.
func (e *Engine) wrappingKey(ctx context.Context, now time.Time) (*material.Key, error) {
	at := e.host.Storage.Key(kindWrapping)
	var row versionRow
	err := e.view(ctx, func(r store.Reader) (err error) {
		row, err = store.GetJSON[versionRow](r, at)
		return err
	})
	if err == nil {
		return row.parse(wrappingType)
	}
	if !isAbsent(err) {
		return nil, err
	}
	// Making it takes seconds: not within the transaction.
	fresh, err := material.Generate(wrappingType, 0, e.host.Rand)
	if err != nil {
		return nil, err
	}
	err = e.update(ctx, func(tx store.Txn) (err error) {
		row, err = store.GetJSON[versionRow](tx, at)
		if isAbsent(err) {
			row = versionRow{Created: now, Secret: fresh.Secret()}
			err = store.PutJSON(tx, at, row)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return row.parse(wrappingType)
}

type wrappingAnswer struct {
	PublicKey string `json:"public_key"`
}

func (e *Engine) readWrappingKey(ctx context.Context, c *route.Call, _ noRequest) (wrappingAnswer, error) {
	k, err := e.wrappingKey(ctx, c.Now)
	if err != nil {
		return wrappingAnswer{}, err
	}
	text, err := k.PublicText()
	return wrappingAnswer{text}, err
}

// imported is key material from elsewhere.
type imported struct {
	Ciphertext string `json:"ciphertext" doc:"The key, wrapped for the mount's wrapping key: an ephemeral AES-256 key by RSA-OAEP, then the key by AES-KWP (RFC 5649), all in base64."`
	Hash       string `json:"hash_function" default:"SHA256" doc:"Hash function of RSA-OAEP: SHA1, SHA224, SHA256, SHA384 or SHA512."`
	PublicKey  string `json:"public_key" doc:"In place of ciphertext: only the public half, as PKIX in PEM."`
}

// key unwraps the material.
func (e *Engine) unwrap(ctx context.Context, now time.Time, t material.Type, in *imported) (*material.Key, error) {
	switch {
	case in.Ciphertext == "" && in.PublicKey == "":
		return nil, fault.New(fault.Invalid, "give the wrapped key as ciphertext, or a public_key")
	case in.Ciphertext != "" && in.PublicKey != "":
		return nil, fault.New(fault.Invalid, "give either ciphertext or public_key: the public half follows from the key")
	case in.PublicKey != "":
		block, _ := pem.Decode([]byte(in.PublicKey))
		if block == nil {
			return nil, fault.New(fault.Invalid, "the public_key must be PEM")
		}
		return material.ParsePublic(t, block.Bytes)
	}
	hash, err := material.WrappingHash(in.Hash)
	if err != nil {
		return nil, err
	}
	wrapped, err := base64.StdEncoding.DecodeString(in.Ciphertext)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the ciphertext must be base64")
	}
	w, err := e.wrappingKey(ctx, now)
	if err != nil {
		return nil, err
	}
	secret, err := w.UnwrapWith(hash, wrapped)
	if err != nil {
		return nil, err
	}
	return material.Parse(t, secret)
}

type importRequest struct {
	Name string `path:"name" doc:"Name of the key."`
	traits
	imported
	AllowRotation bool   `json:"allow_rotation" doc:"Let the server make new versions; after the first, none can be imported."`
	Context       string `json:"context" doc:"Accepted for symmetry; a context goes with the data."`
}

func (e *Engine) importKey(ctx context.Context, c *route.Call, in importRequest) (route.None, error) {
	if err := engine.CheckName(in.Name); err != nil {
		return route.None{}, err
	}
	row, t, err := in.newRow(false)
	if err != nil {
		return route.None{}, err
	}
	row.Imported, row.WasImported, row.AllowRotation = true, true, in.AllowRotation
	if in.AutoRotate > 0 {
		if err := row.mayRotate(); err != nil {
			return route.None{}, err
		}
	}
	k, err := e.unwrap(ctx, c.Now, t, &in.imported)
	if err != nil {
		return route.None{}, err
	}
	if t == material.HMAC {
		row.Size = k.Size()
	}
	n, err := e.asNew(in.Name, row, k, c.Now)
	if err != nil {
		return route.None{}, err
	}
	stored, err := e.store(ctx, n)
	if err == nil && !stored {
		err = fault.New(fault.Invalid, "a key of that name exists: add versions with keys/<name>/import_version")
	}
	return route.None{}, err
}

type importVersionRequest struct {
	Name string `path:"name" doc:"Name of the key."`
	imported
	Version wire.Opt[int] `json:"version" doc:"Version whose private half this is; without it, the latest if that has none, else a new version."`
}

func (e *Engine) importVersion(ctx context.Context, c *route.Call, in importVersionRequest) (route.None, error) {
	seen, err := e.load(ctx, in.Name)
	if err != nil {
		return route.None{}, err
	}
	k, err := e.unwrap(ctx, c.Now, seen.typ, &in.imported)
	if err != nil {
		return route.None{}, err
	}
	fresh, err := e.newVersion(k, c.Now)
	if err != nil {
		return route.None{}, err
	}
	return route.None{}, e.change(ctx, in.Name, func(tx store.Txn, row *keyRow) error {
		switch {
		case row.ID != seen.row.ID:
			return fault.New(fault.Conflict, "the key was replaced meanwhile; try again")
		case !row.Imported:
			return fault.New(fault.Invalid, "only a key that was imported, and has not been rotated here, takes imported versions")
		case row.SoftDeleted:
			return errSoft
		}
		n := row.Latest
		if in.Version.Set {
			n = in.Version.Value
		}
		old, err := e.version(tx, row.ID, n)
		if err != nil {
			return err
		}
		if old.Secret == nil && k.Private() {
			return e.complete(tx, row, n, old, k, in.Version.Set)
		}
		if in.Version.Set {
			return fault.New(fault.Invalid, "this version has its private half already")
		}
		return e.append(tx, row, fresh)
	})
}

// complete gives a version of which only the public half was known its private
// half. A key that is not its private half is a new version, unless this one
// was named.
func (e *Engine) complete(tx store.Txn, row *keyRow, n int, old versionRow, k *material.Key, named bool) error {
	known, err := old.parse(k.Type())
	if err != nil {
		return err
	}
	private, err := k.PublicDER()
	if err != nil {
		return err
	}
	public, err := known.PublicDER()
	if err != nil {
		return err
	}
	if string(private) != string(public) {
		if named {
			return fault.New(fault.Invalid, "this is not the private half of that version")
		}
		fresh, err := e.newVersion(k, row.Rotated)
		if err != nil {
			return err
		}
		return e.append(tx, row, fresh)
	}
	old.Secret, old.Public = k.Secret(), nil
	return store.PutJSON(tx, e.versionKey(row.ID, n), old)
}
