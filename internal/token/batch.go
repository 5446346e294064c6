package token

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/cofferhq/coffer/internal/store"
)

// batchSealer turns records into batch tokens and back: AES-256-GCM with a
// random nonce, in URL-safe base64 after the prefix.
type batchSealer struct{ aead cipher.AEAD }

var batchLabel = []byte("coffer batch token 1")

func newBatchSealer(key []byte) (*batchSealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &batchSealer{aead}, nil
}

func isBatch(text string) bool { return strings.HasPrefix(text, BatchPrefix) }

func (b *batchSealer) seal(e *Entry) (string, error) {
	plain, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	return BatchPrefix + base64.RawURLEncoding.EncodeToString(b.aead.Seal(nil, nil, plain, batchLabel)), nil
}

// open returns the record in a batch token. Whatever is wrong with it, the
// answer is that there is no such token.
func (b *batchSealer) open(text string) (*Entry, error) {
	encoded := strings.TrimPrefix(text, BatchPrefix)
	if strings.ContainsAny(encoded, "\r\n") { // which the decoder would pass over
		return nil, store.ErrNotFound
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, store.ErrNotFound
	}
	plain, err := b.aead.Open(nil, nil, sealed, batchLabel)
	if err != nil {
		return nil, store.ErrNotFound
	}
	e := new(Entry)
	if json.Unmarshal(plain, e) != nil || e.Type != Batch || e.Expires.IsZero() {
		return nil, store.ErrNotFound
	}
	return e, nil
}
