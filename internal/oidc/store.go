package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Person is an entity, as claims tell of it.
type Person interface {
	// ID is the entity's id.
	ID() string
	// Claim returns what a template's name stands for, as JSON; false for a
	// name that no template can have.
	Claim(name string) (json.RawMessage, bool)
	// InGroup reports whether the entity is in a group, itself or by another.
	InGroup(id string) bool
}

// Config is what a [Provider] needs.
type Config struct {
	Store store.Store
	Clock clock.Clock
	Rand  io.Reader
	// Person finds an entity; [fault.Denied] if it is gone or disabled.
	Person func(ctx context.Context, ns store.NamespaceID, entity string) (Person, error)
	// Address is the URL at which clients reach the cluster, the issuer's
	// beginning unless another one is set.
	Address func() string
}

// Provider is the noun.
type Provider struct{ Config }

// New opens the noun.
func New(c Config) *Provider { return &Provider{c} }

// The rows, by what they are and a name.
const (
	rowConfig     = "config"
	rowKey        = "key"
	rowRetired    = "retired" // (key, kid)
	rowRole       = "role"
	rowScope      = "scope"
	rowAssignment = "assignment"
	rowClient     = "client"
	rowClientID   = "client-id" // id to name
	rowProvider   = "provider"
	rowCode       = "code" // by digest
)

// rows are one namespace's, in a snapshot.
type rows struct {
	r  store.Reader
	ns store.NamespaceID
}

func (v rows) key(parts ...string) store.Key {
	return store.NewKey(v.ns, store.System, store.KindOIDC, parts...)
}

// get reads a row; ok is false if there is none.
func get[T any](v rows, parts ...string) (row T, ok bool, err error) {
	row, err = store.GetJSON[T](v.r, v.key(parts...))
	if errors.Is(err, store.ErrNotFound) {
		return row, false, nil
	}
	return row, err == nil, err
}

// find reads a row that is to be shown: without one, the answer is 404.
func find[T any](ctx context.Context, p *Provider, c *route.Call, parts ...string) (row T, err error) {
	err = p.view(ctx, c, func(v rows) error {
		row, err = store.GetJSON[T](v.r, v.key(parts...))
		return err
	})
	return row, err
}

func (p *Provider) view(ctx context.Context, c *route.Call, fn func(rows) error) error {
	return p.Store.View(ctx, func(r store.Reader) error { return fn(rows{r, c.Namespace.ID}) })
}

// edit are one namespace's rows, in a transaction.
type edit struct {
	rows
	tx store.Txn
}

func (p *Provider) change(ctx context.Context, c *route.Call, fn func(edit) error) error {
	_, err := p.Store.Update(ctx, func(tx store.Txn) error { return fn(edit{rows{tx, c.Namespace.ID}, tx}) })
	return err
}

func (e edit) put(row any, parts ...string) error { return store.PutJSON(e.tx, e.key(parts...), row) }

func (e edit) delete(parts ...string) error { return e.tx.Delete(e.key(parts...)) }

// names lists what there is of a kind, together with what there is without a
// row.
func (v rows) names(kind string, builtin ...string) ([]string, error) {
	names, err := store.Children(v.r, v.key(kind), "", 0)
	if err != nil {
		return nil, err
	}
	for _, b := range builtin {
		at := 0
		for at < len(names) && names[at] < b {
			at++
		}
		if at == len(names) || names[at] != b {
			names = append(names[:at], append([]string{b}, names[at:]...)...)
		}
	}
	return names, nil
}

type noInput struct{}

type nameRequest struct {
	Name string `path:"name" doc:"Its name."`
}

// maxName bounds names, in bytes.
const maxName = 128

// checkName refuses names that could not be addressed again.
func checkName(name string) error {
	if len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}) {
		return fault.New(fault.Invalid, "a name has up to 128 letters, digits, '-', '_' and '.'")
	}
	return nil
}

// settings is the row of the configuration.
type settings struct {
	Issuer string `json:"issuer,omitempty"`
}

// issuer returns the issuer of identity tokens.
func (p *Provider) issuer(v rows, c *route.Call) (string, error) {
	s, _, err := get[settings](v, rowConfig)
	if err != nil {
		return "", err
	}
	base := s.Issuer
	if base == "" {
		base = p.Address()
	}
	return p.below(base, c), nil
}

// below puts the path of these endpoints behind a server's URL.
func (p *Provider) below(base string, c *route.Call) string {
	return strings.TrimSuffix(base, "/") + "/v1/" + c.Namespace.Path + "identity/oidc"
}
