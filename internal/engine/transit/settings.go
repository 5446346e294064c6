package transit

import (
	"context"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// settings are the mount's.
type settings struct {
	DisableUpsert bool `json:",omitempty"`
	// CacheSize bounds the keys in memory; 0 leaves it to the server.
	CacheSize int `json:",omitempty"`
}

// minCacheSize is the smallest bound, as in the field.
const minCacheSize = 10

func (e *Engine) settings(ctx context.Context) (*settings, error) {
	if s := e.cache.settings.Load(); s != nil {
		return s, nil
	}
	_, mark := e.cache.get("")
	var s settings
	err := e.view(ctx, func(r store.Reader) (err error) {
		s, err = e.readSettings(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	e.cache.putSettings(&s, mark)
	return &s, nil
}

func (e *Engine) readSettings(r store.Reader) (settings, error) {
	s, err := store.GetJSON[settings](r, e.host.Storage.Key(kindSettings))
	if isAbsent(err) {
		return settings{}, nil
	}
	return s, err
}

func (e *Engine) changeSettings(ctx context.Context, fn func(*settings)) (settings, error) {
	var s settings
	err := e.update(ctx, func(tx store.Txn) (err error) {
		if s, err = e.readSettings(tx); err != nil {
			return err
		}
		fn(&s)
		return store.PutJSON(tx, e.host.Storage.Key(kindSettings), s)
	})
	return s, err
}

type noRequest struct{}

type cacheConfig struct {
	Size int `json:"size"`
}

type cacheConfigRequest struct {
	Size int `json:"size" doc:"Most keys kept in memory, at least 10; 0 leaves it to the server."`
}

func (e *Engine) readCacheConfig(ctx context.Context, _ *route.Call, _ noRequest) (cacheConfig, error) {
	s, err := e.settings(ctx)
	if err != nil {
		return cacheConfig{}, err
	}
	return cacheConfig{s.CacheSize}, nil
}

func (e *Engine) writeCacheConfig(ctx context.Context, _ *route.Call, in cacheConfigRequest) (cacheConfig, error) {
	if in.Size != 0 && in.Size < minCacheSize {
		return cacheConfig{}, fault.Newf(fault.Invalid, "size must be 0 or at least %d", minCacheSize)
	}
	s, err := e.changeSettings(ctx, func(s *settings) { s.CacheSize = in.Size })
	return cacheConfig{s.CacheSize}, err
}

type keysConfig struct {
	DisableUpsert bool `json:"disable_upsert"`
}

type keysConfigRequest struct {
	DisableUpsert wire.Opt[bool] `json:"disable_upsert" doc:"Let encrypt never make a key."`
}

func (e *Engine) readKeysConfig(ctx context.Context, _ *route.Call, _ noRequest) (keysConfig, error) {
	s, err := e.settings(ctx)
	if err != nil {
		return keysConfig{}, err
	}
	return keysConfig{s.DisableUpsert}, nil
}

func (e *Engine) writeKeysConfig(ctx context.Context, _ *route.Call, in keysConfigRequest) (keysConfig, error) {
	s, err := e.changeSettings(ctx, func(s *settings) { in.DisableUpsert.Into(&s.DisableUpsert) })
	return keysConfig{s.DisableUpsert}, err
}
