package namespace

import (
	"context"
	"errors"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

type noInput struct{}

type pathRequest struct {
	Path string `path:"path" doc:"Name of the namespace."`
}

// name returns the name in a request's path, which may have a slash at its end.
func (in pathRequest) name() (string, error) {
	name := strings.TrimSuffix(in.Path, "/")
	return name, checkName(name)
}

type writeRequest struct {
	pathRequest
	Custom wire.Opt[map[string]string] `json:"custom_metadata" doc:"Facts to keep with the namespace, an object of strings."`
	Seal   wire.JSON                   `json:"seal" doc:"Not supported: namespaces have the server's seal."`
	PGP    wire.JSON                   `json:"pgp_keys" doc:"Not supported: namespaces have the server's seal."`
}

// sealed refuses a request for a seal of the namespace's own: a namespace that
// looked sealable and is not would be worse than none.
func sealed(values ...wire.JSON) error {
	for _, v := range values {
		if len(v) > 0 && !wire.IsNull(v) && string(v) != `""` && string(v) != "[]" {
			return fault.New(fault.Invalid, "namespaces have no seal of their own: leave 'seal' and 'pgp_keys' out")
		}
	}
	return nil
}

type patchRequest struct {
	pathRequest
	Custom wire.JSON `json:"custom_metadata" doc:"Facts to set; null removes one."`
	Seal   wire.JSON `json:"seal" doc:"Not supported: namespaces have the server's seal."`
	PGP    wire.JSON `json:"pgp_keys" doc:"Not supported: namespaces have the server's seal."`
}

type answer struct {
	Custom  map[string]string `json:"custom_metadata"`
	ID      string            `json:"id"`
	Locked  bool              `json:"locked"`
	Path    string            `json:"path"`
	Tainted bool              `json:"tainted"`
	UUID    string            `json:"uuid"`
}

func (e *Entry) answer() *answer {
	a := &answer{Custom: e.Custom, ID: e.UUID, Locked: len(e.Lock) > 0, Path: e.Path, Tainted: e.Tainted, UUID: e.UUID}
	if a.Custom == nil {
		a.Custom = map[string]string{}
	}
	return a
}

func (s *Store) write(ctx context.Context, c *route.Call, in writeRequest) (*answer, error) {
	name, err := in.name()
	if err != nil {
		return nil, err
	}
	if err := sealed(in.Seal, in.PGP); err != nil {
		return nil, err
	}
	custom := in.Custom.Value
	if in.Custom.Set && custom == nil {
		custom = map[string]string{}
	}
	e, err := s.Create(ctx, c.Namespace.ID, name, custom)
	if err != nil {
		return nil, err
	}
	return e.answer(), nil
}

func (s *Store) change(ctx context.Context, c *route.Call, in patchRequest) (*answer, error) {
	name, err := in.name()
	if err != nil {
		return nil, err
	}
	if err := sealed(in.Seal, in.PGP); err != nil {
		return nil, err
	}
	change, err := mergePatch(in.Custom)
	if err != nil {
		return nil, err
	}
	e, err := s.patch(ctx, c.Namespace.ID, name, change)
	if err != nil {
		return nil, err
	}
	return e.answer(), nil
}

// mergePatch reads an object of strings and nulls.
func mergePatch(raw wire.JSON) (map[string]*string, error) {
	if len(raw) == 0 || wire.IsNull(raw) {
		return nil, nil
	}
	o, err := wire.ParseObject(raw, wire.DefaultLimits)
	if err != nil || !o.Present() {
		return nil, fault.New(fault.Invalid, `field "custom_metadata": must be an object of strings`)
	}
	change := make(map[string]*string, len(o.Members))
	for _, m := range o.Members {
		if wire.IsNull(m.Value) {
			change[m.Name] = nil
			continue
		}
		text, err := wire.ParseString(m.Value)
		if err != nil {
			return nil, fault.Newf(fault.Invalid, `field "custom_metadata": member %q: %s`, m.Name, err)
		}
		change[m.Name] = &text
	}
	return change, nil
}

func (s *Store) read(ctx context.Context, c *route.Call, in pathRequest) (*answer, error) {
	name, err := in.name()
	if err != nil {
		return nil, err
	}
	var e *Entry
	err = s.Store.View(ctx, func(r store.Reader) error {
		id, err := child(r, c.Namespace.ID, name)
		if err == nil {
			e, err = get(r, id)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return e.answer(), nil
}

func (s *Store) list(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	keys := route.Keys{Info: map[string]any{}}
	err := s.Store.View(ctx, func(r store.Reader) error {
		return each(r, c.Namespace.ID, func(e *Entry) error {
			keys.Keys = append(keys.Keys, e.Name+"/")
			keys.Info[e.Name+"/"] = e.answer()
			return nil
		})
	})
	return keys, err
}

func (s *Store) scan(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	keys := route.Keys{Info: map[string]any{}}
	err := s.Store.View(ctx, func(r store.Reader) error {
		var walk func(*Entry) error
		walk = func(e *Entry) error {
			at := strings.TrimPrefix(e.Path, c.Namespace.Path)
			keys.Keys = append(keys.Keys, at)
			keys.Info[at] = e.answer()
			return each(r, e.ID, walk)
		}
		return each(r, c.Namespace.ID, walk)
	})
	return keys, err
}

// each calls fn with the namespaces directly below one, in the order of names.
func each(r store.Reader, parent store.NamespaceID, fn func(*Entry) error) error {
	for row, err := range r.Scan(store.Under(childrenKey(parent))) {
		if err != nil {
			return err
		}
		id, ok := store.ParseUint64Part(string(row.Value))
		if !ok {
			return errMalformed
		}
		e, err := get(r, store.NamespaceID(id))
		if err != nil {
			return err
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

type visibleAnswer struct {
	Keys []string `json:"keys,omitempty"`
}

// visible lists the namespaces that a caller may do something in. Everybody may
// ask, as the web interface does before anybody has logged in, and a stranger is
// told of none.
func (s *Store) visible(ctx context.Context, c *route.Call, _ noInput) (visibleAnswer, error) {
	var a visibleAnswer
	var names []string
	err := s.Store.View(ctx, func(r store.Reader) (err error) {
		names, err = store.Children(r, childrenKey(c.Namespace.ID), "", 0)
		return err
	})
	for _, name := range names {
		if s.Visible(ctx, c, name+"/") {
			a.Keys = append(a.Keys, name+"/")
		}
	}
	return a, err
}

// removal tells how a deletion goes.
type removal struct {
	Status string `json:"status"`
}

func (s *Store) remove(ctx context.Context, c *route.Call, in pathRequest) (*route.Reply, error) {
	name, err := in.name()
	if err != nil {
		return nil, err
	}
	switch err := s.Delete(ctx, c.Namespace.ID, name); {
	case errors.Is(err, store.ErrNotFound):
		c.Warn("there is no such namespace: nothing was deleted")
		return &route.Reply{}, nil
	case err != nil:
		return nil, err
	}
	return route.Data(removal{"in-progress"})
}
