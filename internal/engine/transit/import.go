package transit

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strconv"
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

type wrapRequest struct {
	Destination string `path:"destination" doc:"Name of the RSA key to wrap for: another server's wrapping key, imported here."`
	Source      string `path:"source" doc:"Name of the key to wrap."`
	Hash        string `query:"hash" default:"SHA256" doc:"Hash function of RSA-OAEP."`
}

type wrapVersionRequest struct {
	wrapRequest
	Version string `path:"version" doc:"Version to wrap, or latest."`
}

func (e *Engine) wrapKey(ctx context.Context, _ *route.Call, in wrapRequest) (exportAnswer, error) {
	return e.wrapVersions(ctx, &in, "")
}

func (e *Engine) wrapVersion(ctx context.Context, _ *route.Call, in wrapVersionRequest) (exportAnswer, error) {
	return e.wrapVersions(ctx, &in.wrapRequest, in.Version)
}

func (e *Engine) wrapVersions(ctx context.Context, in *wrapRequest, version string) (exportAnswer, error) {
	hash, err := material.WrappingHash(in.Hash)
	if err != nil {
		return exportAnswer{}, err
	}
	dst, err := e.use(ctx, in.Destination)
	if err != nil {
		return exportAnswer{}, err
	}
	latest, err := e.at(ctx, dst, dst.row.Latest)
	if err != nil {
		return exportAnswer{}, err
	}
	public := latest.key.RSAPublic()
	if public == nil {
		return exportAnswer{}, fault.New(fault.Invalid, "the destination must be an RSA key")
	}
	return e.export(ctx, in.Source, version, func(_ *keyRow, k *material.Key, _ *versionRow) (string, error) {
		secret, err := k.Exportable()
		if err != nil {
			return "", err
		}
		wrapped, err := material.WrapFor(public, hash, secret, e.host.Rand)
		return base64.StdEncoding.EncodeToString(wrapped), err
	})
}

type exportAnswer struct {
	Keys map[string]string `json:"keys"`
	Name string            `json:"name"`
	Type string            `json:"type"`
}

// export calls write for the versions of an exportable key: one, or all that may
// still decrypt if version is "".
func (e *Engine) export(ctx context.Context, name, version string, write func(*keyRow, *material.Key, *versionRow) (string, error)) (exportAnswer, error) {
	a := exportAnswer{Name: name}
	err := e.view(ctx, func(r store.Reader) error {
		a.Keys = map[string]string{}
		row, err := e.row(r, name)
		switch {
		case err != nil:
			return err
		case row.SoftDeleted:
			return errSoft
		case !row.Exportable:
			return errNotExportable
		}
		return e.writeVersions(r, &row, version, &a, write)
	})
	return a, err
}

var errNotExportable = fault.New(fault.Invalid, "the key is not exportable; set exportable with keys/<name>/config to change that for ever")

func (e *Engine) writeVersions(r store.Reader, row *keyRow, version string, a *exportAnswer, write func(*keyRow, *material.Key, *versionRow) (string, error)) error {
	t, err := row.typ()
	if err != nil {
		return err
	}
	a.Type, _ = shownType(row.Type)
	only := 0
	if version != "" {
		if only, err = row.parseVersion(version); err != nil {
			return err
		}
	}
	return e.versions(r, row.ID, max(only, row.oldest()), func(n int, v versionRow) error {
		if only != 0 && n != only {
			return nil
		}
		k, err := v.parse(t)
		if err != nil {
			return err
		}
		text, err := write(row, k, &v)
		if err != nil {
			return err
		}
		a.Keys[strconv.Itoa(n)] = text
		return nil
	})
}

// parseChain reads the certificates of a PEM text, in order.
func parseChain(text string) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return chain, nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return nil, fault.New(fault.Invalid, "the certificate_chain has something that is not a certificate")
		}
		chain = append(chain, cert)
	}
}
