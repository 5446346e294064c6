package kv

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// Limits of custom metadata, in members and in bytes.
const (
	maxCustomMembers = 64
	maxCustomName    = 128
	maxCustomValue   = 512
)

// Texts that clients look for.
var (
	errMetadataCASMismatch = fault.New(fault.Invalid, "metadata check-and-set parameter does not match the current version")
	errMetadataCASRequired = fault.New(fault.Invalid, "metadata check-and-set parameter required for this call")
)

func (e *versioned) readMetadata(ctx context.Context, _ *route.Call, in metadataReadRequest) (*metadata, error) {
	if err := checkRead(in.Path); err != nil {
		return nil, err
	}
	var m metadata
	err := e.storage.View(ctx, func(r store.Reader) error {
		s, err := e.load(r, in.Path)
		if err != nil {
			return err
		}
		m = metadata{secret: s.secret}
		m.table, m.custom = bytes.Clone(s.table), bytes.Clone(s.custom)
		if !in.Attribution {
			return nil
		}
		m.creators = make([]creator, 0, s.count())
		for n := s.first(); n <= s.current; n++ {
			rec, err := e.record(r, in.Path, &s, n)
			if err != nil {
				return err
			}
			m.creators = append(m.creators, creator{rec.op, bytes.Clone(rec.creator)})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &m, nil
}

func (e *versioned) metadataExists(ctx context.Context, _ *route.Call, in metadataWriteRequest) (bool, error) {
	return e.exists(ctx, in.Path)
}

func (e *versioned) writeMetadata(ctx context.Context, c *route.Call, in metadataWriteRequest) (route.None, error) {
	if err := checkWrite(in.Path); err != nil {
		return route.None{}, err
	}
	var custom map[string]string
	setCustom := len(in.CustomMetadata) > 0 && !wire.IsNull(in.CustomMetadata)
	if setCustom {
		var err error
		if custom, err = parseCustom(in.CustomMetadata); err != nil {
			return route.None{}, err
		}
	}
	return route.None{}, e.storage.Update(ctx, func(tx store.Txn) error {
		s, err := e.loadOrNew(tx, in.Path, c.Now.UnixNano())
		if err != nil {
			return err
		}
		if err := e.changeSettings(tx, c, in, &s); err != nil {
			return err
		}
		if setCustom {
			s.custom = encodeCustom(custom)
		}
		return e.save(tx, in.Path, &s)
	})
}

// changeSettings applies what a request says about settings, if its condition
// holds.
func (e *versioned) changeSettings(tx store.Txn, c *route.Call, in metadataWriteRequest, s *stored) error {
	cfg, err := e.config(tx)
	if err != nil {
		return err
	}
	switch cas := in.MetadataCAS; {
	case !cas.Set && (s.metadataCASRequired || cfg.MetadataCASRequired):
		return errMetadataCASRequired
	case cas.Set && (cas.Value < 0 || uint64(cas.Value) != s.metadataVersion):
		return errMetadataCASMismatch
	}
	in.MaxVersions.Into(&s.maxVersions)
	in.CASRequired.Into(&s.casRequired)
	in.MetadataCASRequired.Into(&s.metadataCASRequired)
	if in.DeleteVersionAfter.Set {
		s.deleteAfter = time.Duration(in.DeleteVersionAfter.Value)
	}
	s.metadataVersion++
	s.updated = c.Now.UnixNano()
	return nil
}

func (e *versioned) patchMetadata(ctx context.Context, c *route.Call, in metadataWriteRequest) (*route.Reply, error) {
	if err := checkWrite(in.Path); err != nil {
		return nil, err
	}
	clearNulls(c, &in)
	err := e.storage.Update(ctx, func(tx store.Txn) error {
		s, err := e.load(tx, in.Path)
		if err != nil {
			return err
		}
		if err := e.changeSettings(tx, c, in, &s); err != nil {
			return err
		}
		if len(in.CustomMetadata) > 0 {
			if s.custom, err = patchCustom(s.custom, in.CustomMetadata); err != nil {
				return err
			}
		}
		return e.save(tx, in.Path, &s)
	})
	return patchOutcome(&route.Reply{NoContent: true}, err)
}

// clearNulls makes a patch's nulls set what they take away to its zero, which
// is the default of each setting.
func clearNulls(c *route.Call, in *metadataWriteRequest) {
	for _, m := range c.Body.Members {
		if !wire.IsNull(m.Value) {
			continue
		}
		switch m.Name {
		case "max_versions":
			in.MaxVersions.Set = true
		case "cas_required":
			in.CASRequired.Set = true
		case "metadata_cas_required":
			in.MetadataCASRequired.Set = true
		case "delete_version_after":
			in.DeleteVersionAfter.Set = true
		}
	}
}

func (e *versioned) deleteMetadata(ctx context.Context, _ *route.Call, in pathRequest) (route.None, error) {
	if err := checkWrite(in.Path); err != nil {
		return route.None{}, err
	}
	return route.None{}, e.storage.Update(ctx, func(tx store.Txn) error {
		s, err := e.load(tx, in.Path)
		switch {
		case errors.Is(err, fault.NotFound):
			return nil
		case err != nil:
			return err
		case s.plain != nil:
			return tx.Delete(pathKey(e.storage, kindPlain, in.Path))
		}
		for n := s.first(); n <= s.current; n++ {
			if err := tx.Delete(e.versionKey(in.Path, n)); err != nil {
				return err
			}
		}
		return tx.Delete(pathKey(e.storage, kindSecret, in.Path))
	})
}

// parseCustom reads custom metadata. Its errors do not repeat it.
func parseCustom(raw []byte) (map[string]string, error) {
	custom, err := wire.ParseMap(raw)
	if err != nil {
		return nil, fault.Newf(fault.Invalid, "field %q: %s", "custom_metadata", err)
	}
	return custom, checkCustom(custom)
}

func checkCustom(custom map[string]string) error {
	if len(custom) > maxCustomMembers {
		return fault.Newf(fault.Invalid, "custom_metadata has %d members; at most %d are allowed", len(custom), maxCustomMembers)
	}
	for name, value := range custom {
		switch {
		case name == "" || len(name) > maxCustomName:
			return fault.Newf(fault.Invalid, "a name in custom_metadata has %d bytes; it must have 1 to %d", len(name), maxCustomName)
		case len(value) > maxCustomValue:
			return fault.Newf(fault.Invalid, "a value in custom_metadata has %d bytes; at most %d are allowed", len(value), maxCustomValue)
		case !printable(name) || !printable(value):
			return fault.New(fault.Invalid, "custom_metadata must not contain control characters")
		}
	}
	return nil
}

func printable(text string) bool {
	for _, r := range text {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return false
		}
	}
	return true
}

// patchCustom applies a merge patch to custom metadata.
func patchCustom(stored, patch []byte) ([]byte, error) {
	if wire.IsNull(patch) {
		return nil, nil
	}
	changes, err := wire.ParseObject(patch, wire.DefaultLimits)
	if err != nil {
		return nil, fault.New(fault.Invalid, `field "custom_metadata": must be an object of strings`)
	}
	custom, err := wire.ParseMap(stored)
	if err != nil {
		return nil, errSecret
	}
	if custom == nil {
		custom = map[string]string{}
	}
	for _, m := range changes.Members {
		if wire.IsNull(m.Value) {
			delete(custom, m.Name)
			continue
		}
		if custom[m.Name], err = wire.ParseString(m.Value); err != nil {
			return nil, fault.New(fault.Invalid, `field "custom_metadata": must be an object whose values are strings`)
		}
	}
	return encodeCustom(custom), checkCustom(custom)
}

// encodeCustom writes custom metadata as it is stored and shown.
func encodeCustom(custom map[string]string) []byte {
	if len(custom) == 0 {
		return nil
	}
	b := []byte{'{'}
	for i, name := range slices.Sorted(maps.Keys(custom)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(wire.AppendQuoted(b, name), ':')
		b = wire.AppendQuoted(b, custom[name])
	}
	return append(b, '}')
}
