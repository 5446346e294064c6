package kv

import (
	"context"
	"errors"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// config is a version 2 mount's settings.
type config struct {
	CASRequired         bool      `json:"cas_required"`
	DeleteVersionAfter  retention `json:"delete_version_after"`
	MaxVersions         uint32    `json:"max_versions"`
	MetadataCASRequired bool      `json:"metadata_cas_required"`
}

// config reads the mount's settings.
func (e *versioned) config(r store.Reader) (config, error) {
	cfg, err := store.GetJSON[config](r, e.storage.Key(kindConfig))
	if errors.Is(err, store.ErrNotFound) {
		return config{}, nil
	}
	return cfg, err
}

func (e *versioned) readConfig(ctx context.Context, _ *route.Call, _ struct{}) (cfg config, err error) {
	err = e.storage.View(ctx, func(r store.Reader) error {
		cfg, err = e.config(r)
		return err
	})
	return cfg, err
}

func (e *versioned) writeConfig(ctx context.Context, _ *route.Call, in configRequest) (route.None, error) {
	return route.None{}, e.storage.Update(ctx, func(tx store.Txn) error {
		cfg, err := e.config(tx)
		if err != nil {
			return err
		}
		in.MaxVersions.Into(&cfg.MaxVersions)
		in.CASRequired.Into(&cfg.CASRequired)
		in.MetadataCASRequired.Into(&cfg.MetadataCASRequired)
		in.DeleteVersionAfter.Into(&cfg.DeleteVersionAfter)
		return store.PutJSON(tx, e.storage.Key(kindConfig), cfg)
	})
}
