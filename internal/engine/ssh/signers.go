package ssh

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/cofferhq/coffer/internal/store"
)

// signers are the issuers' keys, parsed. The change feed drops them.
type signers struct {
	mu   sync.RWMutex
	byID map[string]ssh.Signer // guarded by mu
	mark uint64                // guarded by mu: counts drops
}

func (s *signers) follow(changes []store.Change) {
	if changes != nil && !touches(changes, kindIssuer) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID = nil
	s.mark++
}

func touches(changes []store.Change, kind store.Kind) bool {
	for i := range changes {
		if changes[i].Key.Kind() == kind {
			return true
		}
	}
	return false
}

// signer returns the id and the key of the issuer that a reference means.
func (e *Engine) signer(ctx context.Context, ref string) (string, ssh.Signer, error) {
	s := &e.signers
	s.mu.RLock()
	mark := s.mark
	s.mu.RUnlock()
	i, err := e.read(ctx, ref)
	if err != nil {
		return "", nil, err
	}
	s.mu.RLock()
	signer := s.byID[i.id]
	s.mu.RUnlock()
	if signer != nil {
		return i.id, signer, nil
	}
	if signer, err = parseSigner(i.Private); err != nil {
		return "", nil, fmt.Errorf("reading an issuer: %v", err) // not wrapped: it is our row that is bad
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mark == mark {
		if s.byID == nil {
			s.byID = map[string]ssh.Signer{}
		}
		s.byID[i.id] = signer
	}
	return i.id, signer, nil
}
