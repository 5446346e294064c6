package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// versioned is a version 2 mount.
type versioned struct{ storage engine.Storage }

// stored is a secret as the store has it.
type stored struct {
	secret
	// plain is the row of a version 1 secret that has not been changed since
	// the mount was upgraded; nil otherwise.
	plain []byte
}

// load reads the secret at path. The error is [errNoSecret] if there is none.
func (e *versioned) load(r store.Reader, path string) (stored, error) {
	row, err := r.Get(pathKey(e.storage, kindSecret, path))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return e.loadPlain(r, path)
	case err != nil:
		return stored{}, err
	}
	s, err := decodeSecret(row)
	return stored{secret: s}, err
}

// loadPlain reads what version 1 has left at path, as a secret with one
// version.
func (e *versioned) loadPlain(r store.Reader, path string) (stored, error) {
	row, err := r.Get(pathKey(e.storage, kindPlain, path))
	if errors.Is(err, store.ErrNotFound) {
		return stored{}, errNoSecret
	}
	if err != nil {
		return stored{}, err
	}
	rec, err := decodeRecord(row)
	if err != nil {
		return stored{}, err
	}
	s := secret{created: rec.created, updated: rec.created, current: 1, oldest: 1}
	s.table = appendVersion(nil, version{created: rec.created})
	return stored{secret: s, plain: row}, nil
}

// loadOrNew is load, with a new secret if there is none.
func (e *versioned) loadOrNew(r store.Reader, path string, now int64) (stored, error) {
	s, err := e.load(r, path)
	if errors.Is(err, fault.NotFound) {
		return stored{secret: secret{created: now, updated: now}}, nil
	}
	return s, err
}

// record reads the data of version n, which the secret's table has.
func (e *versioned) record(r store.Reader, path string, s *stored, n uint64) (record, error) {
	row := s.plain
	if row == nil {
		var err error
		if row, err = r.Get(e.versionKey(path, n)); err != nil {
			// Not wrapped: a missing row is a defect here, not an absent secret.
			return record{}, fmt.Errorf("reading the data of version %d of a secret: %v", n, err)
		}
	}
	return decodeRecord(row)
}

func (e *versioned) versionKey(path string, n uint64) store.Key {
	return e.storage.Key(kindVersion, path, strconv.FormatUint(n, 10))
}

// save writes the secret. A row of version 1 becomes the row of the secret's
// first version.
func (e *versioned) save(tx store.Txn, path string, s *stored) error {
	if s.plain != nil {
		if s.count() > 0 && s.first() == 1 {
			if err := tx.Put(e.versionKey(path, 1), bytes.Clone(s.plain)); err != nil {
				return err
			}
		}
		if err := tx.Delete(pathKey(e.storage, kindPlain, path)); err != nil {
			return err
		}
		s.plain = nil
	}
	return tx.Put(pathKey(e.storage, kindSecret, path), s.encode())
}

// exists reports whether there is a secret at path, with or without versions.
func (e *versioned) exists(ctx context.Context, path string) (exists bool, err error) {
	if checkRead(path) != nil {
		return false, nil // the write itself says what is wrong
	}
	err = e.storage.View(ctx, func(r store.Reader) error {
		exists, err = store.Exists(r, pathKey(e.storage, kindSecret, path))
		if err == nil && !exists {
			exists, err = store.Exists(r, pathKey(e.storage, kindPlain, path))
		}
		return err
	})
	return exists, err
}

func (e *versioned) unsupported(context.Context, *route.Call, anyRequest) (*route.Reply, error) {
	return nil, fault.New(fault.Unsupported, "unsupported operation")
}

// misdirected answers for paths that no endpoint has. Clients that do not know
// the mount's version are told by a warning, beside a 404 with a body.
func (e *versioned) misdirected(_ context.Context, c *route.Call, _ anyRequest) (*route.Reply, error) {
	if head, tail, ok := strings.Cut(c.Path, "/"); ok && tail == "" && isEndpoint(head) {
		if c.Verb == route.VerbWrite || c.Verb == route.VerbPatch {
			return nil, errNoPath
		}
		return nil, errNoSecret
	}
	c.Warn("Invalid path for a versioned K/V secrets engine: this mount keeps versions, so a secret at \"name\" is read and written at \"data/name\". The \"kv\" commands do that by themselves.")
	return &route.Reply{Missing: true}, nil
}

// isEndpoint reports whether secrets' paths follow name.
func isEndpoint(name string) bool {
	switch name {
	case "data", "metadata", "delete", "undelete", "destroy", "subkeys", "detailed-metadata":
		return true
	}
	return false
}
