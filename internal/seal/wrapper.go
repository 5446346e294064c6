package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"

	"github.com/cofferhq/coffer/internal/barrier"
)

// Wrapper encrypts the root key for storage. It is what a kind of seal is:
// shares of a key, or a key that lives in a key management service.
type Wrapper interface {
	// Type is the seal's name in the stored configuration and in the API.
	Type() string
	// Wrap encrypts and authenticates plaintext together with ad. It does not
	// keep plaintext.
	Wrap(ctx context.Context, plaintext, ad []byte) ([]byte, error)
	// Unwrap reverses Wrap. Everything that Wrap has not made with the same key
	// and ad gives one and the same error, [ErrUnwrap]; that the key cannot be
	// reached is another.
	Unwrap(ctx context.Context, wrapped, ad []byte) ([]byte, error)
}

// ErrUnwrap is the error of a wrapper with another key than the one that
// wrapped, or for a changed wrapping.
var ErrUnwrap = errors.New("the root key does not open")

// keyWrapper wraps with a key at hand: the one that shares combine to. Its
// wrapping is AES-256-GCM with a random nonce in front.
type keyWrapper struct{ key barrier.Key }

var _ Wrapper = keyWrapper{}

// Type implements [Wrapper].
func (keyWrapper) Type() string { return TypeShamir }

func (w keyWrapper) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(w.key.Expose())
	if err != nil {
		return nil, fmt.Errorf("expanding unseal key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Wrap implements [Wrapper].
func (w keyWrapper) Wrap(_ context.Context, plaintext, ad []byte) ([]byte, error) {
	aead, err := w.aead()
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plaintext, ad), nil
}

// Unwrap implements [Wrapper].
func (w keyWrapper) Unwrap(_ context.Context, wrapped, ad []byte) ([]byte, error) {
	aead, err := w.aead()
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, wrapped, ad)
	if err != nil {
		return nil, ErrUnwrap
	}
	return plain, nil
}

// wrapRoot fills in the configuration's wrapped root key.
func (c *sealConfig) wrapRoot(ctx context.Context, w Wrapper, root barrier.Key, clusterID string) (err error) {
	c.Type = w.Type()
	if c.RootKey, err = w.Wrap(ctx, root.Expose(), c.associatedData(clusterID)); err != nil {
		return fmt.Errorf("wrapping root key: %w", err)
	}
	return nil
}

// unwrapRoot returns the root key.
func (c sealConfig) unwrapRoot(ctx context.Context, w Wrapper, clusterID string) (barrier.Key, error) {
	plain, err := w.Unwrap(ctx, c.RootKey, c.associatedData(clusterID))
	if err != nil {
		return barrier.Key{}, err
	}
	defer clear(plain)
	return barrier.ParseKey(plain)
}
