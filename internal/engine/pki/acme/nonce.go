package acme

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// nonceLife is how long a nonce may be used.
	nonceLife = 10 * time.Minute
	// maxUsed bounds the nonces that are remembered as used.
	maxUsed = 200_000
)

// Nonces hands out values that can be used once (RFC 8555, section 6.5). A nonce
// is a time, random bytes and a MAC of both, so that handing one out costs no
// memory: only used ones are remembered, until they have expired. The key is the
// process's own: another leader knows none of them, and clients try again with
// one of its own, as they must.
type Nonces struct {
	rand io.Reader

	mu   sync.Mutex
	key  []byte             // guarded by mu
	used map[[16]byte]int64 // expiry in seconds by random part; guarded by mu
}

// NewNonces returns a source of nonces.
func NewNonces(random io.Reader) *Nonces { return &Nonces{rand: random} }

// keyLocked returns the key, and makes it on first use.
func (n *Nonces) keyLocked() ([]byte, error) {
	if n.key == nil {
		key := make([]byte, 32)
		if _, err := io.ReadFull(n.rand, key); err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
		n.key, n.used = key, map[[16]byte]int64{}
	}
	return n.key, nil
}

// New returns a fresh nonce.
func (n *Nonces) New(now time.Time) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key, err := n.keyLocked()
	if err != nil {
		return "", err
	}
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], uint64(now.Unix()))
	if _, err := io.ReadFull(n.rand, b[8:]); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(append(b[:], mac(key, b[:])...)), nil
}

func mac(key, b []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return h.Sum(nil)[:16]
}

// Use consumes a nonce. It reports false for one that is not of this source, has
// expired or has been used.
func (n *Nonces) Use(nonce string, now time.Time) bool {
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != 40 {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.key == nil || !hmac.Equal(b[24:], mac(n.key, b[:24])) {
		return false
	}
	made := int64(binary.BigEndian.Uint64(b))
	end := made + int64(nonceLife/time.Second)
	if now.Unix() < made-1 || now.Unix() >= end {
		return false
	}
	id := [16]byte(b[8:24])
	if _, again := n.used[id]; again {
		return false
	}
	if len(n.used) >= maxUsed {
		n.forgetLocked(now.Unix())
	}
	n.used[id] = end
	return true
}

// forgetLocked drops used nonces that have expired. If that does not help, all
// nonces become void: a new key needs no memory of the old.
func (n *Nonces) forgetLocked(now int64) {
	for id, end := range n.used {
		if now >= end {
			delete(n.used, id)
		}
	}
	if len(n.used) >= maxUsed {
		n.key = nil
		n.used = map[[16]byte]int64{}
	}
}
