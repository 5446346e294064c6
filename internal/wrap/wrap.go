// Package wrap is the noun behind response wrapping: an answer is kept, sealed
// like everything else, under a token that is good for nothing but getting it,
// once.
//
// The token and the answer are written in one transaction and removed in one;
// of a thousand callers who unwrap at once, exactly one gets the answer. The
// path that made the answer is kept with it, so that a receiver can tell
// whether it was replaced on the way.
package wrap

import (
	"context"
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
	"github.com/cofferhq/coffer/internal/wire"
)

// Store is the noun.
type Store struct {
	store  store.Store
	clock  clock.Clock
	tokens *token.Store
	// above reports whether a namespace is above another one.
	above  func(ctx context.Context, ns, other store.NamespaceID) (bool, error)
	signer signer
}

// row is a wrapped answer.
type row struct {
	Created time.Time     `json:"created"`
	TTL     time.Duration `json:"ttl"`
	Path    string        `json:"path"`
	// Body is the whole envelope, encoded.
	Body wire.JSON `json:"body"`
	// Accessor is that of the token inside, if the answer is a token.
	Accessor string `json:"accessor,omitempty"`
}

// MaxTTL is the longest time that an answer is kept wrapped.
const MaxTTL = 32 * 24 * time.Hour

var errInvalid = fault.New(fault.Invalid, "wrapping token is not valid or does not exist")

// New returns the noun over an initialised store.
func New(ctx context.Context, s store.Store, c clock.Clock, tokens *token.Store, above func(ctx context.Context, ns, other store.NamespaceID) (bool, error)) (*Store, error) {
	sign, err := loadSigner(ctx, s)
	if err != nil {
		return nil, err
	}
	return &Store{store: s, clock: c, tokens: tokens, above: above, signer: sign}, nil
}

func rowKey(handle string) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindWrap, "answer", handle)
}

// Drop removes what a token wraps, when the token goes.
func Drop(tx store.Txn, handle string) error { return tx.Delete(rowKey(handle)) }

// Answer is an answer to be wrapped.
type Answer struct {
	// Body is the encoded envelope.
	Body []byte
	// Path made the answer.
	Path string
	// Accessor is that of the token inside, if any.
	Accessor string
	TTL      time.Duration
	// JWT asks for the token in the form of a JSON Web Token.
	JWT bool
}

// Wrap keeps an answer and returns what the client gets instead.
func (s *Store) Wrap(ctx context.Context, ns store.NamespaceID, a Answer) (*route.WrapInfo, error) {
	if a.TTL < time.Second || a.TTL > MaxTTL {
		return nil, fault.New(fault.Invalid, "the wrapping time must be from one second to 32 days")
	}
	info := &route.WrapInfo{TTL: a.TTL, CreationPath: a.Path, WrappedAccessor: a.Accessor}
	_, err := s.store.Update(ctx, func(tx store.Txn) error {
		return s.insert(tx, ns, a, info)
	})
	if err == nil && a.JWT {
		info.Token, err = s.signer.sign(info, s.clock.Now())
	}
	return info, err
}

func (s *Store) insert(tx store.Txn, ns store.NamespaceID, a Answer, info *route.WrapInfo) error {
	e, text, err := s.tokens.Insert(tx, token.Entry{
		NS: ns, Policies: []string{policy.ResponseWrappingName}, Path: a.Path, NumUses: 1, TTL: a.TTL, ExplicitMaxTTL: a.TTL,
		Type: token.Service, NoDefaultPolicy: true,
	})
	if err != nil {
		return err
	}
	info.Token, info.Accessor, info.CreationTime = text, e.Accessor, e.Created
	return store.PutJSON(tx, rowKey(e.Handle), row{Created: e.Created, TTL: a.TTL, Path: a.Path, Body: a.Body, Accessor: a.Accessor})
}

// handle returns the handle of a wrapping token, which may be inside a JSON Web
// Token.
func (s *Store) handle(text string) (string, error) {
	inner, err := s.signer.open(text)
	if err != nil {
		return "", errInvalid
	}
	return s.tokens.Handle(inner), nil
}

// home returns the namespace of a wrapping token that may be opened in ns: its
// own or one above, since who received the token need not know where it was made.
func (s *Store) home(ctx context.Context, ns store.NamespaceID, handle string) (at store.NamespaceID, err error) {
	err = s.store.View(ctx, func(r store.Reader) (err error) {
		at, err = s.tokens.NamespaceOf(r, handle)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return 0, errInvalid
	}
	if err != nil || at == ns {
		return at, err
	}
	above, err := s.above(ctx, ns, at)
	if err == nil && !above {
		err = errInvalid
	}
	return at, err
}

// take removes a wrapped answer with its token and returns it.
func (s *Store) take(tx store.Txn, ns store.NamespaceID, handle string) (row, error) {
	w, err := s.peek(tx, ns, handle)
	if err == nil {
		err = s.tokens.RevokeWithin(tx, handle)
	}
	return w, err
}

// peek reads a wrapped answer.
func (s *Store) peek(r store.Reader, ns store.NamespaceID, handle string) (row, error) {
	w, err := store.GetJSON[row](r, rowKey(handle))
	if errors.Is(err, store.ErrNotFound) || err == nil && !s.clock.Now().Before(w.Created.Add(w.TTL)) {
		return row{}, errInvalid
	}
	if err != nil {
		return row{}, err
	}
	at, err := s.tokens.NamespaceOf(r, handle)
	if errors.Is(err, store.ErrNotFound) || err == nil && at != ns {
		return row{}, errInvalid
	}
	return w, err
}

// Unwrap returns an answer's envelope and forgets it.
func (s *Store) Unwrap(ctx context.Context, ns store.NamespaceID, text string) ([]byte, error) {
	handle, err := s.handle(text)
	if err != nil {
		return nil, err
	}
	if ns, err = s.home(ctx, ns, handle); err != nil {
		return nil, err
	}
	var w row
	_, err = s.store.Update(ctx, func(tx store.Txn) error {
		var err error
		w, err = s.take(tx, ns, handle)
		return err
	})
	if err != nil {
		return nil, err // also if it was read but its removal is not certain
	}
	return w.Body, nil
}
