package policy

import (
	"context"
	"errors"
	"fmt"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// passwordRow is a password policy at rest, by namespace and name.
type passwordRow struct {
	Text string `json:"text"`
}

// passwordKey returns the key of a password policy. Unlike those of ACL
// policies their names know upper case: path and key are the same letters.
func passwordKey(ns store.NamespaceID, name string) (store.Key, error) {
	if _, err := CheckName(name); err != nil {
		return "", err
	}
	return store.NewKey(ns, store.System, store.KindPassword, name), nil
}

// Password generates a password by the named password policy of a namespace,
// or by [DefaultPasswordText] if the name is "". An unknown name is
// [fault.Invalid].
func (s *Store) Password(ctx context.Context, ns store.NamespaceID, name string) (string, error) {
	if name == "" {
		return s.password.Generate(s.Rand)
	}
	p, err := s.passwordPolicy(ctx, ns, name)
	if isNotFound(err) {
		return "", fault.Newf(fault.Invalid, "there is no password policy %q", name)
	}
	if err != nil {
		return "", err
	}
	return p.Generate(s.Rand)
}

// passwordText reads a policy's text; [store.ErrNotFound] if there is none.
func (s *Store) passwordText(ctx context.Context, ns store.NamespaceID, name string) (string, error) {
	key, err := passwordKey(ns, name)
	if err != nil {
		return "", err
	}
	var p passwordRow
	err = s.Store.View(ctx, func(r store.Reader) error {
		p, err = store.GetJSON[passwordRow](r, key)
		return err
	})
	return p.Text, err
}

func (s *Store) passwordPolicy(ctx context.Context, ns store.NamespaceID, name string) (*PasswordPolicy, error) {
	text, err := s.passwordText(ctx, ns, name)
	if err != nil {
		return nil, err
	}
	p, err := ParsePassword(text)
	if err != nil {
		// It was checked when it was written: the caller is not to blame.
		return nil, fault.Wrap(fault.Internal, fmt.Errorf("reading password policy %q: %s", name, err), "the password policy cannot be read")
	}
	return p, nil
}

// missing words the answer for a password policy that is not there.
func missing(name string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fault.Newf(fault.NotFound, "there is no password policy %q", name)
	}
	return err
}

func (s *Store) listPassword(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	list := route.Keys{Keys: []string{}}
	err := s.Store.View(ctx, func(r store.Reader) error {
		names, err := store.Children(r, store.NewKey(c.Namespace.ID, store.System, store.KindPassword), "", 0)
		list.Keys = append(list.Keys, names...)
		return err
	})
	return list, err
}

func (s *Store) readPassword(ctx context.Context, c *route.Call, in nameRequest) (passwordPolicyAnswer, error) {
	text, err := s.passwordText(ctx, c.Namespace.ID, in.Name)
	return passwordPolicyAnswer{Policy: text}, missing(in.Name, err)
}

func (s *Store) writePassword(ctx context.Context, c *route.Call, in passwordRequest) (route.None, error) {
	key, err := passwordKey(c.Namespace.ID, in.Name)
	if err != nil {
		return route.None{}, err
	}
	if in.Policy == "" {
		return route.None{}, fault.New(fault.Invalid, `the parameter "policy" is missing or empty`)
	}
	text := DecodeText(in.Policy)
	p, err := ParsePassword(text)
	if err != nil {
		return route.None{}, err
	}
	// Rules that are each fair may exclude each other: one password shows.
	if _, err := p.Generate(s.Rand); err != nil {
		return route.None{}, err
	}
	_, err = s.Store.Update(ctx, func(tx store.Txn) error { return store.PutJSON(tx, key, passwordRow{Text: text}) })
	return route.None{}, err
}

func (s *Store) deletePassword(ctx context.Context, c *route.Call, in nameRequest) (route.None, error) {
	key, err := passwordKey(c.Namespace.ID, in.Name)
	if err != nil {
		return route.None{}, err
	}
	_, err = s.Store.Update(ctx, func(tx store.Txn) error { return tx.Delete(key) })
	return route.None{}, err
}

func (s *Store) generatePassword(ctx context.Context, c *route.Call, in nameRequest) (passwordAnswer, error) {
	p, err := s.passwordPolicy(ctx, c.Namespace.ID, in.Name)
	if err != nil {
		return passwordAnswer{}, missing(in.Name, err)
	}
	text, err := p.Generate(s.Rand)
	return passwordAnswer{Password: text}, err
}
