package transit

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"

	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

type exportRequest struct {
	Kind   string `path:"type" doc:"What to export: encryption-key, signing-key, hmac-key, public-key or certificate-chain."`
	Name   string `path:"name" doc:"Name of the key."`
	Format string `query:"format" doc:"raw, der or pem; without it, the form that is usual for the type."`
}

type exportVersionRequest struct {
	exportRequest
	Version string `path:"version" doc:"Version to export, or latest."`
}

func (e *Engine) exportKey(ctx context.Context, _ *route.Call, in exportRequest) (exportAnswer, error) {
	return e.exportVersions(ctx, &in, "")
}

func (e *Engine) exportVersion(ctx context.Context, _ *route.Call, in exportVersionRequest) (exportAnswer, error) {
	return e.exportVersions(ctx, &in.exportRequest, in.Version)
}

func (e *Engine) exportVersions(ctx context.Context, in *exportRequest, version string) (exportAnswer, error) {
	format, err := material.ParseFormat(in.Format)
	if err != nil {
		return exportAnswer{}, err
	}
	write, open, err := in.writer(format)
	if err != nil {
		return exportAnswer{}, err
	}
	a, err := e.export(ctx, in.Name, version, open, write)
	if errors.Is(err, errNoKey) {
		return a, errAbsent
	}
	return a, err
}

// versionWriter writes one version of a key.
type versionWriter func(*keyRow, *material.Key, *versionRow) (string, error)

// writer chooses how a version is written, and whether what is written is open
// to everybody who may read the path.
func (in *exportRequest) writer(format material.Format) (write versionWriter, open bool, err error) {
	switch in.Kind {
	case "encryption-key":
		return func(row *keyRow, k *material.Key, _ *versionRow) (string, error) {
			if !k.Type().Encrypts() {
				return "", fault.Newf(fault.Invalid, "a key of type %s does not encrypt", row.Type)
			}
			return k.ExportPrivate(format)
		}, false, nil
	case "signing-key":
		return func(row *keyRow, k *material.Key, _ *versionRow) (string, error) {
			if !k.Type().Signs() {
				return "", fault.Newf(fault.Invalid, "a key of type %s does not sign", row.Type)
			}
			return k.ExportPrivate(format)
		}, false, nil
	case "hmac-key":
		return func(_ *keyRow, k *material.Key, v *versionRow) (string, error) {
			if k.Type() == material.HMAC {
				return k.ExportPrivate(material.FormatRaw)
			}
			return base64.StdEncoding.EncodeToString(v.MAC), nil
		}, false, nil
	case "public-key":
		return func(row *keyRow, k *material.Key, _ *versionRow) (string, error) {
			if row.Derived {
				return "", fault.New(fault.Invalid, "a derived key has a public half per context; read keys/<name> with the context")
			}
			return k.ExportPublic(format)
		}, true, nil
	case "certificate-chain":
		return func(_ *keyRow, _ *material.Key, v *versionRow) (string, error) {
			if v.Chain == nil {
				return "", fault.New(fault.Invalid, "the key has no certificate; set one with keys/<name>/set-certificate")
			}
			return chainText(v.Chain), nil
		}, true, nil
	}
	return nil, false, fault.New(fault.Invalid, "the path must have encryption-key, signing-key, hmac-key, public-key or certificate-chain before the key's name")
}

type exportAnswer struct {
	Keys map[string]string `json:"keys"`
	Name string            `json:"name"`
	Type string            `json:"type"`
}

// export calls write for the versions of a key: one, or all that may still
// decrypt if version is "". Unless what is written is open, the key must be
// exportable.
func (e *Engine) export(ctx context.Context, name, version string, open bool, write versionWriter) (exportAnswer, error) {
	a := exportAnswer{Name: name}
	err := e.view(ctx, func(r store.Reader) error {
		a.Keys = map[string]string{}
		row, err := e.row(r, name)
		switch {
		case err != nil:
			return err
		case row.SoftDeleted:
			return errSoft
		case !open && !row.Exportable:
			return errNotExportable
		}
		return e.writeVersions(r, &row, version, &a, write)
	})
	return a, err
}

var errNotExportable = fault.New(fault.Invalid, "the key is not exportable; set exportable with keys/<name>/config to change that for ever")

func (e *Engine) writeVersions(r store.Reader, row *keyRow, version string, a *exportAnswer, write versionWriter) error {
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
