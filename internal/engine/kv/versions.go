package kv

import (
	"bytes"
	"context"
	"errors"
	"strconv"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

func (e *versioned) deleteVersions(ctx context.Context, c *route.Call, in versionsRequest) (route.None, error) {
	return e.changeNamed(ctx, in, deleteAt(c.Now.UnixNano()))
}

func (e *versioned) undeleteVersions(ctx context.Context, _ *route.Call, in versionsRequest) (route.None, error) {
	return e.changeNamed(ctx, in, undelete)
}

func (e *versioned) destroyVersions(ctx context.Context, _ *route.Call, in versionsRequest) (route.None, error) {
	return e.changeNamed(ctx, in, destroy)
}

// change is what happens to a version: it returns the new entry, or false to
// leave it as it is.
type change func(version) (version, bool)

func deleteAt(now int64) change {
	return func(v version) (version, bool) {
		if !v.readable(now) {
			return v, false
		}
		v.deletion = now
		return v, true
	}
}

func undelete(v version) (version, bool) {
	if v.destroyed || v.deletion == 0 {
		return v, false
	}
	v.deletion = 0
	return v, true
}

func destroy(v version) (version, bool) {
	if v.destroyed {
		return v, false
	}
	v.destroyed = true
	return v, true
}

func (e *versioned) changeNamed(ctx context.Context, in versionsRequest, fn change) (route.None, error) {
	if len(in.Versions) == 0 {
		return route.None{}, fault.New(fault.Invalid, "No version number provided")
	}
	numbers := make([]uint64, len(in.Versions))
	for i, text := range in.Versions {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return route.None{}, fault.New(fault.Invalid, `field "versions": must be a list of version numbers`)
		}
		numbers[i] = n
	}
	return route.None{}, e.changeVersions(ctx, in.Path, numbers, fn)
}

// changeVersions applies fn to the versions with the given numbers, to the
// current one if numbers is nil. Versions and secrets that do not exist are
// passed over: what was asked for holds for them.
func (e *versioned) changeVersions(ctx context.Context, path string, numbers []uint64, fn change) error {
	if err := checkWrite(path); err != nil {
		return err
	}
	return e.storage.Update(ctx, func(tx store.Txn) error {
		s, err := e.load(tx, path)
		if errors.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		chosen := numbers
		if chosen == nil {
			chosen = []uint64{s.current}
		}
		s.table = bytes.Clone(s.table)
		var emptied []uint64
		changed := false
		for _, n := range chosen {
			before, ok := s.version(n)
			if !ok {
				continue
			}
			after, ok := fn(before)
			if !ok {
				continue
			}
			s.set(n, after)
			changed = true
			if after.destroyed {
				emptied = append(emptied, n)
			}
		}
		if !changed {
			return nil
		}
		if err := e.save(tx, path, &s); err != nil {
			return err
		}
		return e.empty(tx, path, &s, emptied)
	})
}

// empty removes the data of versions. The rows stay, without data, because they
// say who created the version.
func (e *versioned) empty(tx store.Txn, path string, s *stored, numbers []uint64) error {
	for _, n := range numbers {
		rec, err := e.record(tx, path, s, n)
		if err != nil {
			return err
		}
		rec.data = nil
		if err := tx.Put(e.versionKey(path, n), rec.encode()); err != nil {
			return err
		}
	}
	return nil
}
