package kv

import (
	"context"
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// plain is a version 1 mount.
type plain struct{ storage engine.Storage }

func (e *plain) read(ctx context.Context, c *route.Call, in pathRequest) (*route.Reply, error) {
	if err := checkRead(in.Path); err != nil {
		return nil, err
	}
	reply := &route.Reply{Lease: &route.LeaseInfo{Duration: c.Mount.DefaultTTL}}
	err := e.storage.View(ctx, func(r store.Reader) error {
		row, err := r.Get(pathKey(e.storage, kindPlain, in.Path))
		if err != nil {
			return err
		}
		rec, err := decodeRecord(row)
		if err != nil {
			return err
		}
		if rec.lease > 0 {
			reply.Lease.Duration = rec.lease
		}
		reply.Data = append([]byte(nil), rec.data...)
		return nil
	})
	if errors.Is(err, fault.NotFound) {
		return nil, errNoSecret
	}
	return reply, err
}

func (e *plain) exists(ctx context.Context, _ *route.Call, in plainWriteRequest) (exists bool, err error) {
	if checkRead(in.Path) != nil {
		return false, nil // the write itself says what is wrong
	}
	err = e.storage.View(ctx, func(r store.Reader) error {
		exists, err = store.Exists(r, pathKey(e.storage, kindPlain, in.Path))
		return err
	})
	return exists, err
}

func (e *plain) write(ctx context.Context, c *route.Call, in plainWriteRequest) (route.None, error) {
	if err := checkWrite(in.Path); err != nil {
		return route.None{}, err
	}
	if len(in.Body.Members) == 0 {
		return route.None{}, errNoDataFields
	}
	op := opUpdate
	if c.Create {
		op = opCreate
	}
	rec := record{op: op, created: c.Now.UnixNano(), lease: leaseHint(in.Body), creator: encodeCreator(&c.Caller), data: in.Body.Raw}
	return route.None{}, e.storage.Update(ctx, func(tx store.Txn) error {
		return tx.Put(pathKey(e.storage, kindPlain, in.Path), rec.encode())
	})
}

// leaseHint is the duration that the secret itself suggests for how long it may
// be kept, 0 for none. What is not a duration is just data.
func leaseHint(body wire.Object) time.Duration {
	raw, ok := body.Lookup("ttl")
	if !ok {
		if raw, ok = body.Lookup("lease"); !ok {
			return 0
		}
	}
	d, err := wire.ParseDuration(raw)
	if err != nil {
		return 0
	}
	return d
}

func (e *plain) delete(ctx context.Context, _ *route.Call, in pathRequest) (route.None, error) {
	switch err := checkRead(in.Path); {
	case errors.Is(err, fault.NotFound):
		return route.None{}, nil // there is nothing at a folder's path
	case err != nil:
		return route.None{}, err
	}
	return route.None{}, e.storage.Update(ctx, func(tx store.Txn) error {
		return tx.Delete(pathKey(e.storage, kindPlain, in.Path))
	})
}

func (e *plain) list(ctx context.Context, c *route.Call, in pathRequest) (route.Keys, error) {
	return listFolder(ctx, e.storage, c, in.Path, kindPlain)
}

func (e *plain) scan(ctx context.Context, _ *route.Call, in pathRequest) (route.Keys, error) {
	return scanFolder(ctx, e.storage, in.Path, kindPlain)
}

// root answers for the mount's own path, where no secret can be.
func (e *plain) root(_ context.Context, c *route.Call, _ anyRequest) (*route.Reply, error) {
	if c.Verb == route.VerbRead {
		return nil, errNoSecret
	}
	return nil, errNoPath
}
