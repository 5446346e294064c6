package kv

import (
	"bytes"
	"context"
	"errors"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// Texts that clients look for.
var (
	errCASMismatch = fault.New(fault.Invalid, "check-and-set parameter did not match the current version")
	errCASRequired = fault.New(fault.Invalid, "check-and-set parameter required for this call")
)

func (e *versioned) readData(ctx context.Context, c *route.Call, in readRequest) (*route.Reply, error) {
	return e.readVersion(ctx, c, in.Path, in.Version, appendRead)
}

func (e *versioned) readSubkeys(ctx context.Context, c *route.Call, in subkeysRequest) (*route.Reply, error) {
	return e.readVersion(ctx, c, in.Path, in.Version, func(dst []byte, d versionDetails, data []byte) []byte {
		dst = append(dst, `{"metadata":`...)
		dst = d.append(dst)
		dst = append(dst, `,"subkeys":`...)
		if data == nil {
			dst = append(dst, "null"...)
		} else {
			dst = parseTree(data).appendSubkeys(dst, int(in.Depth))
		}
		return append(dst, '}')
	})
}

// readVersion finds a version and lets answer write it. The data is nil if the
// version is deleted or destroyed.
func (e *versioned) readVersion(ctx context.Context, c *route.Call, path string, n uint64, answer func(dst []byte, d versionDetails, data []byte) []byte) (*route.Reply, error) {
	if err := checkRead(path); err != nil {
		return nil, err
	}
	var reply route.Reply
	err := e.storage.View(ctx, func(r store.Reader) error {
		s, err := e.load(r, path)
		if err != nil {
			return err
		}
		if n == 0 {
			n = s.current
		}
		v, ok := s.version(n)
		if !ok {
			return errNoSecret
		}
		d := versionDetails{version: v, number: n, custom: s.custom}
		if !v.readable(c.Now.UnixNano()) {
			reply = route.Reply{Missing: true, Data: answer(nil, d, nil)}
			return nil
		}
		rec, err := e.record(r, path, &s, n)
		if err != nil {
			return err
		}
		reply.Data = answer(nil, d, rec.data)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// appendRead writes the answer of a read. Its size is known before, so it is
// one allocation.
func appendRead(dst []byte, d versionDetails, data []byte) []byte {
	if data == nil {
		data = jsonNull
	}
	if dst == nil {
		dst = make([]byte, 0, len(data)+len(d.custom)+192)
	}
	dst = append(dst, `{"data":`...)
	dst = append(dst, data...)
	dst = append(dst, `,"metadata":`...)
	dst = d.append(dst)
	return append(dst, '}')
}

func (e *versioned) dataExists(ctx context.Context, _ *route.Call, in writeRequest) (bool, error) {
	return e.exists(ctx, in.Path)
}

func (e *versioned) writeData(ctx context.Context, c *route.Call, in writeRequest) (*versionDetails, error) {
	if err := checkWrite(in.Path); err != nil {
		return nil, err
	}
	if err := checkData(in.Data); err != nil {
		return nil, err
	}
	var written versionDetails
	err := e.storage.Update(ctx, func(tx store.Txn) error {
		s, err := e.loadOrNew(tx, in.Path, c.Now.UnixNano())
		if err != nil {
			return err
		}
		op := opUpdate
		if s.current == 0 {
			op = opCreate
		}
		written, err = e.addVersion(tx, c, in, &s, record{op: op, data: in.Data})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &written, nil
}

// checkData says whether a request's data can be a secret. Null is taken, and
// stored as null, because Vault's clients rely on it being no error.
func checkData(data []byte) error {
	switch {
	case len(data) == 0:
		return errNoData
	case data[0] != '{' && !wire.IsNull(data):
		return fault.New(fault.Invalid, `field "data": must be a JSON object`)
	}
	return nil
}

// addVersion stores rec as the new current version and drops what is then one
// version too many.
func (e *versioned) addVersion(tx store.Txn, c *route.Call, in writeRequest, s *stored, rec record) (versionDetails, error) {
	cfg, err := e.config(tx)
	if err != nil {
		return versionDetails{}, err
	}
	switch {
	case !in.Options.given && (s.casRequired || cfg.CASRequired):
		return versionDetails{}, errCASRequired
	case in.Options.given && (in.Options.cas < 0 || uint64(in.Options.cas) != s.current):
		return versionDetails{}, errCASMismatch
	}
	rec.created, rec.creator = c.Now.UnixNano(), encodeCreator(&c.Caller)
	v := version{created: rec.created, deletion: s.deletionTime(cfg, c.Now)}
	from, to := s.add(v, s.keeps(cfg))
	// The secret goes first: it moves a version 1 row to its place, from where
	// it may have to be dropped.
	if err := e.save(tx, in.Path, s); err != nil {
		return versionDetails{}, err
	}
	for n := from; n < to; n++ {
		if err := tx.Delete(e.versionKey(in.Path, n)); err != nil {
			return versionDetails{}, err
		}
	}
	d := versionDetails{version: v, number: s.current, custom: bytes.Clone(s.custom)}
	return d, tx.Put(e.versionKey(in.Path, s.current), rec.encode())
}

func (e *versioned) patchData(ctx context.Context, c *route.Call, in writeRequest) (*route.Reply, error) {
	if err := checkWrite(in.Path); err != nil {
		return nil, err
	}
	if err := checkData(in.Data); err != nil {
		return nil, err
	}
	patch := parseTree(in.Data)
	if !patch.object {
		return nil, errNoData
	}
	var reply *route.Reply
	err := e.storage.Update(ctx, func(tx store.Txn) error {
		reply = nil
		s, err := e.load(tx, in.Path)
		if err != nil {
			return err
		}
		v, ok := s.version(s.current)
		if !ok {
			return errNoSecret
		}
		if !v.readable(c.Now.UnixNano()) {
			d := versionDetails{version: v, number: s.current, custom: s.custom}
			reply = &route.Reply{Missing: true, Data: d.append(nil)}
			return nil
		}
		rec, err := e.record(tx, in.Path, &s, s.current)
		if err != nil {
			return err
		}
		merged := parseTree(rec.data).appendPatched(make([]byte, 0, len(rec.data)+len(in.Data)), patch)
		d, err := e.addVersion(tx, c, in, &s, record{op: opPatch, data: merged})
		if err == nil {
			reply = &route.Reply{Data: d.append(nil)}
		}
		return err
	})
	return patchOutcome(reply, err)
}

// patchOutcome gives a patch of what does not exist the answer that Vault's
// clients expect: 404 without a body.
func patchOutcome(reply *route.Reply, err error) (*route.Reply, error) {
	if errors.Is(err, fault.NotFound) {
		return &route.Reply{Raw: &route.Bytes{Status: 404}}, nil
	}
	if err != nil {
		return nil, err
	}
	return reply, nil
}

func (e *versioned) deleteData(ctx context.Context, c *route.Call, in pathRequest) (route.None, error) {
	return route.None{}, e.changeVersions(ctx, in.Path, nil, deleteAt(c.Now.UnixNano()))
}
