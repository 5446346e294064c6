package token

import (
	"context"
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

var (
	errBadToken    = fault.New(fault.Denied, "bad token")
	errBadAccessor = fault.New(fault.Invalid, "invalid accessor")
)

// find returns the record of the token named in a request; errMissing is the
// answer if there is none. A token of another namespace is not found.
func (s *Store) find(ctx context.Context, c *route.Call, text string, errMissing error) (*Entry, error) {
	e, err := s.Find(ctx, text)
	return sameNamespace(c, e, err, errMissing)
}

func (s *Store) findAccessor(ctx context.Context, c *route.Call, accessor string, errMissing error) (*Entry, error) {
	if accessor == "" {
		return nil, fault.New(fault.Invalid, "missing accessor")
	}
	e, err := s.ByAccessor(ctx, accessor)
	return sameNamespace(c, e, err, errMissing)
}

func sameNamespace(c *route.Call, e *Entry, err, errMissing error) (*Entry, error) {
	if errors.Is(err, store.ErrNotFound) || err == nil && e.NS != c.Namespace.ID {
		return nil, errMissing
	}
	return e, err
}

func (s *Store) lookup(ctx context.Context, c *route.Call, in tokenRequest) (facts, error) {
	if in.Token == "" {
		return s.lookupSelf(ctx, c, noInput{})
	}
	e, err := s.find(ctx, c, in.Token, errBadToken)
	if err != nil {
		return facts{}, err
	}
	return s.facts(ctx, c, e, in.Token)
}

func (s *Store) lookupSelf(ctx context.Context, c *route.Call, _ noInput) (facts, error) {
	text := c.ClientToken.Reveal()
	e, err := s.presented(ctx, text)
	if err != nil {
		return facts{}, err
	}
	return s.facts(ctx, c, e, text)
}

// presented returns the record of the caller's own token, also during its last
// use.
func (s *Store) presented(ctx context.Context, text string) (*Entry, error) {
	if isBatch(text) {
		return s.batch.open(text)
	}
	e, err := s.load(ctx, s.hash.sum(text))
	if err != nil || e.Revoking {
		return nil, errBad
	}
	return e, nil
}

func (s *Store) lookupAccessor(ctx context.Context, c *route.Call, in accessorRequest) (facts, error) {
	e, err := s.findAccessor(ctx, c, in.Accessor, errBadAccessor)
	if err != nil {
		return facts{}, err
	}
	return s.facts(ctx, c, e, "")
}

func (s *Store) listAccessors(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	list := route.Keys{Keys: []string{}}
	root := store.NewKey(store.RootNamespace, store.System, store.KindAccessor)
	err := s.Store.View(ctx, func(r store.Reader) error {
		for e, err := range r.Scan(store.Under(root)) {
			if err != nil {
				return err
			}
			t, err := get(r, string(e.Value))
			if errors.Is(err, store.ErrNotFound) || err == nil && (t.NS != c.Namespace.ID || !t.usable(c.Now)) {
				continue
			}
			if err != nil {
				return err
			}
			list.Keys = append(list.Keys, e.Key.Last())
		}
		return nil
	})
	return list, err
}

func (s *Store) renew(ctx context.Context, c *route.Call, in renewRequest) (*route.Reply, error) {
	text := in.Token
	if text == "" {
		text = c.Param("url_token")
	}
	if text == "" {
		text = c.ClientToken.Reveal()
	}
	e, err := s.find(ctx, c, text, fault.New(fault.Invalid, "token not found"))
	if err != nil {
		return nil, err
	}
	return s.renewed(ctx, c, e, text, in.Increment.D())
}

func (s *Store) renewSelf(ctx context.Context, c *route.Call, in renewSelfRequest) (*route.Reply, error) {
	text := c.ClientToken.Reveal()
	e, err := s.presented(ctx, text)
	if err != nil {
		return nil, err
	}
	return s.renewed(ctx, c, e, text, in.Increment.D())
}

func (s *Store) renewAccessor(ctx context.Context, c *route.Call, in renewAccessorRequest) (*route.Reply, error) {
	e, err := s.findAccessor(ctx, c, in.Accessor, errBadAccessor)
	if err != nil {
		return nil, err
	}
	return s.renewed(ctx, c, e, "", in.Increment.D())
}

func (s *Store) renewed(ctx context.Context, c *route.Call, e *Entry, text string, increment time.Duration) (*route.Reply, error) {
	after, err := s.Renew(ctx, c, e, increment)
	if err != nil {
		return nil, err
	}
	auth, err := s.auth(ctx, after, text, c.Now)
	if err != nil {
		return nil, err
	}
	return &route.Reply{Auth: auth}, nil
}

func (s *Store) revoke(ctx context.Context, c *route.Call, in tokenRequest) (route.None, error) {
	if in.Token == "" {
		return route.None{}, fault.New(fault.Invalid, "missing token")
	}
	e, err := s.find(ctx, c, in.Token, store.ErrNotFound)
	if errors.Is(err, store.ErrNotFound) {
		return route.None{}, nil // revoking what is not there has succeeded
	}
	if err != nil {
		return route.None{}, err
	}
	return route.None{}, s.revokeEntry(ctx, e)
}

func (s *Store) revokeEntry(ctx context.Context, e *Entry) error {
	if e.Type == Batch {
		return fault.New(fault.Invalid, "batch tokens cannot be revoked")
	}
	return s.Revoke(ctx, e.Handle)
}

func (s *Store) revokeSelf(ctx context.Context, c *route.Call, _ noInput) (route.None, error) {
	e, err := s.presented(ctx, c.ClientToken.Reveal())
	if err != nil {
		return route.None{}, err
	}
	return route.None{}, s.revokeEntry(ctx, e)
}

func (s *Store) revokeAccessor(ctx context.Context, c *route.Call, in accessorRequest) (route.None, error) {
	e, err := s.findAccessor(ctx, c, in.Accessor, store.ErrNotFound)
	if errors.Is(err, store.ErrNotFound) {
		c.Warn("No token was found with this accessor")
		return route.None{}, nil
	}
	if err != nil {
		return route.None{}, err
	}
	return route.None{}, s.revokeEntry(ctx, e)
}

func (s *Store) revokeOrphan(ctx context.Context, c *route.Call, in tokenRequest) (route.None, error) {
	if in.Token == "" {
		return route.None{}, fault.New(fault.Invalid, "missing token")
	}
	e, err := s.find(ctx, c, in.Token, fault.New(fault.Invalid, "token to revoke not found"))
	if err != nil {
		return route.None{}, err
	}
	if e.Type == Batch {
		return route.None{}, fault.New(fault.Invalid, "batch tokens cannot be revoked")
	}
	return route.None{}, s.RevokeOrphan(ctx, e.Handle)
}

func (s *Store) tidy(context.Context, *route.Call, noInput) (*route.Reply, error) {
	return &route.Reply{Accepted: true, Warn: "Every row of a token is written and removed in one transaction, so there is nothing to tidy."}, nil
}
