package namespace

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"io"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// unlockPath is what a request may go to in a namespace that it could unlock.
const unlockPath = "sys/namespaces/api-lock/unlock"

// Closed returns the refusal of a request while the namespace is locked, nil if
// the request may pass: nothing does but the unlocking of the very namespace
// that is locked.
func (sp *Space) Closed(path string) error {
	by := sp.Locked()
	if by == nil || by == sp && (path == unlockPath || strings.HasPrefix(path, unlockPath+"/")) {
		return nil
	}
	return fault.Newf(fault.Unavailable, "API access to this namespace has been locked by an administrator - %q must be unlocked to gain access.", by.Path)
}

type lockRequest struct {
	Path string `json:"path" doc:"Path of a namespace below this one; this one if not given."`
}

type lockAnswer struct {
	Key string `json:"unlock_key" sensitive:"true"`
}

// lock closes a namespace and those below it to every request. The key that
// opens it again is shown once and kept as a hash.
func (s *Store) lock(ctx context.Context, c *route.Call, in lockRequest) (*lockAnswer, error) {
	sp, err := s.target(ctx, c, cmp.Or(c.Param("below"), in.Path))
	if err != nil {
		return nil, err
	}
	var random [24]byte
	if _, err := io.ReadFull(s.Rand, random[:]); err != nil {
		return nil, err
	}
	key := base64.RawURLEncoding.EncodeToString(random[:])
	err = s.relock(ctx, sp.ID, func(e *Entry) error {
		if len(e.Lock) > 0 {
			return fault.Newf(fault.Invalid, "the namespace %q is locked already", e.Path)
		}
		e.Lock = hashKey(key)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.Log.Warn("a namespace was locked", "namespace", sp.Path, "request", c.ID)
	return &lockAnswer{key}, nil
}

func hashKey(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:]
}

type unlockRequest struct {
	lockRequest
	Key string `json:"unlock_key" doc:"What locking has answered; a root token needs none." sensitive:"true"`
}

func (s *Store) unlock(ctx context.Context, c *route.Call, in unlockRequest) (route.None, error) {
	sp, err := s.target(ctx, c, cmp.Or(c.Param("below"), in.Path))
	if err != nil {
		return route.None{}, err
	}
	err = s.relock(ctx, sp.ID, func(e *Entry) error {
		switch {
		case len(e.Lock) == 0:
			return fault.Newf(fault.Invalid, "the namespace %q is not locked", e.Path)
		case c.Caller.Root && in.Key == "":
		case subtle.ConstantTimeCompare(hashKey(in.Key), e.Lock) != 1:
			return fault.New(fault.Invalid, "the unlock key is not that of the namespace")
		}
		e.Lock = nil
		return nil
	})
	if err == nil {
		s.Log.Warn("a namespace was unlocked", "namespace", sp.Path, "request", c.ID)
	}
	return route.None{}, err
}

// target finds the namespace that a request locks or unlocks.
func (s *Store) target(ctx context.Context, c *route.Call, path string) (*Space, error) {
	path = strings.Trim(path, "/")
	if path == Root.UUID {
		return nil, checkName(path)
	}
	at, err := s.ByID(ctx, c.Namespace.ID)
	if err != nil {
		return nil, err
	}
	if at, err = s.under(ctx, at, path); err != nil {
		return nil, err
	}
	if at.ID == store.RootNamespace {
		return nil, fault.New(fault.Invalid, "the root namespace cannot be locked: seal the server instead")
	}
	return at, nil
}

func (s *Store) relock(ctx context.Context, id store.NamespaceID, change func(*Entry) error) error {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		e, err := live(tx, id)
		if errors.Is(err, store.ErrNotFound) {
			return ErrMissing
		}
		if err != nil {
			return err
		}
		if err := change(e); err != nil {
			return err
		}
		return store.PutJSON(tx, idKey(id), e)
	})
	return err
}
