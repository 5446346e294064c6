package namespace

import (
	"context"
	"errors"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// Create makes a namespace directly below another with all that a namespace
// has, in one transaction. If there is one with the name, its custom metadata
// are replaced, unless they are nil.
func (s *Store) Create(ctx context.Context, parent store.NamespaceID, name string, custom map[string]string) (*Entry, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if err := checkCustom(custom); err != nil {
		return nil, err
	}
	var e *Entry
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		id, err := child(tx, parent, name)
		if errors.Is(err, store.ErrNotFound) {
			e, err = s.insert(tx, parent, name, custom)
			return err
		}
		if err != nil {
			return err
		}
		if e, err = live(tx, id); err != nil || custom == nil {
			return err
		}
		e.Custom = custom
		return store.PutJSON(tx, idKey(id), e)
	})
	return e, err
}

// live reads the record of a namespace that is not being deleted.
func live(r store.Reader, id store.NamespaceID) (*Entry, error) {
	e, err := get(r, id)
	if err == nil && e.Tainted {
		return nil, fault.New(fault.Invalid, "the namespace is being deleted: try again when that is done")
	}
	return e, err
}

func (s *Store) insert(tx store.Txn, parent store.NamespaceID, name string, custom map[string]string) (*Entry, error) {
	e := &Entry{Parent: parent, Name: name, Path: name + "/", Custom: custom, Created: s.Clock.Now()}
	if parent != store.RootNamespace {
		above, err := live(tx, parent)
		if errors.Is(err, store.ErrNotFound) {
			return nil, ErrMissing
		}
		if err != nil {
			return nil, err
		}
		e.Path = above.Path + e.Path
	}
	if strings.Count(e.Path, "/") > maxDepth {
		return nil, fault.Newf(fault.Invalid, "namespaces lie at most %d deep in each other", maxDepth)
	}
	if err := s.Free(tx, parent, name); err != nil {
		return nil, err
	}
	n, err := Latest(tx)
	if err != nil {
		return nil, err
	}
	e.ID = n + 1
	if e.UUID, err = wire.NewUUID(s.Rand); err != nil {
		return nil, err
	}
	for _, put := range []func() error{
		func() error { return store.PutJSON(tx, sequenceKey(), uint64(e.ID)) },
		func() error { return store.PutJSON(tx, idKey(e.ID), e) },
		func() error { return tx.Put(childKey(parent, name), []byte(number(e.ID))) },
		func() error { return s.Born(tx, e.ID) },
	} {
		if err := put(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// The bounds of custom metadata.
const (
	maxCustom      = 64
	maxCustomKey   = 128
	maxCustomValue = 512
)

func checkCustom(custom map[string]string) error {
	if len(custom) > maxCustom {
		return fault.Newf(fault.Invalid, "custom_metadata has at most %d members", maxCustom)
	}
	for k, v := range custom {
		if k == "" || len(k) > maxCustomKey || len(v) > maxCustomValue {
			return fault.Newf(fault.Invalid, "custom_metadata has keys of 1 to %d bytes and values of at most %d", maxCustomKey, maxCustomValue)
		}
	}
	return nil
}

// patch changes a namespace's custom metadata as JSON merge patch (RFC 7396)
// does: null removes.
func (s *Store) patch(ctx context.Context, parent store.NamespaceID, name string, change map[string]*string) (*Entry, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	var e *Entry
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		id, err := child(tx, parent, name)
		if err != nil {
			return err
		}
		if e, err = live(tx, id); err != nil {
			return err
		}
		if e.Custom == nil {
			e.Custom = map[string]string{}
		}
		for k, v := range change {
			if v == nil {
				delete(e.Custom, k)
			} else {
				e.Custom[k] = *v
			}
		}
		if err := checkCustom(e.Custom); err != nil {
			return err
		}
		return store.PutJSON(tx, idKey(id), e)
	})
	return e, err
}

// Serving reports with an error that a namespace is gone or being deleted. Read
// in a transaction, it makes what the transaction stores and the namespace's end
// exclude each other.
func Serving(r store.Reader, ns store.NamespaceID) error {
	if ns == store.RootNamespace {
		return nil
	}
	e, err := get(r, ns)
	if errors.Is(err, store.ErrNotFound) || err == nil && e.Tainted {
		return ErrMissing
	}
	return err
}
