package transit

import (
	"context"
	"encoding/base64"

	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

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
	return e.export(ctx, in.Source, version, false, func(_ *keyRow, k *material.Key, _ *versionRow) (string, error) {
		secret, err := k.Exportable()
		if err != nil {
			return "", err
		}
		wrapped, err := material.WrapFor(public, hash, secret, e.host.Rand)
		return base64.StdEncoding.EncodeToString(wrapped), err
	})
}
