package transit

import (
	"context"
	"encoding/base64"
	"errors"

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
	var a exportAnswer
	if open {
		a, err = e.exportOpen(ctx, in.Name, version, write)
	} else {
		a, err = e.export(ctx, in.Name, version, write)
	}
	if errors.Is(err, errNoKey) {
		return a, errAbsent
	}
	return a, err
}

// exportOpen exports what is no secret, of any key.
func (e *Engine) exportOpen(ctx context.Context, name, version string, write func(*keyRow, *material.Key, *versionRow) (string, error)) (exportAnswer, error) {
	a := exportAnswer{Name: name}
	err := e.view(ctx, func(r store.Reader) error {
		a.Keys = map[string]string{}
		row, err := e.row(r, name)
		switch {
		case err != nil:
			return err
		case row.SoftDeleted:
			return errSoft
		}
		return e.writeVersions(r, &row, version, &a, write)
	})
	return a, err
}

// writer chooses how a version is written, and whether what is written is open
// to everybody who may read the path.
func (in *exportRequest) writer(format material.Format) (write func(*keyRow, *material.Key, *versionRow) (string, error), open bool, err error) {
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
