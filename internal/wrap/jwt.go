package wrap

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// signer puts wrapping tokens into JSON Web Tokens (RFC 7519), for clients that
// ask for X-Vault-Wrap-Format: jwt.
type signer struct{ key ed25519.PrivateKey }

var signerKey = store.NewKey(store.RootNamespace, store.System, store.KindWrap, "key")

// Init makes the signing key at the cluster's birth.
func Init(tx store.Txn, random io.Reader) error {
	if ok, err := store.Exists(tx, signerKey); err != nil || ok {
		return err
	}
	_, key, err := ed25519.GenerateKey(random)
	if err != nil {
		return err
	}
	return tx.Put(signerKey, key)
}

func loadSigner(ctx context.Context, s store.Store) (signer, error) {
	var key []byte
	err := s.View(ctx, func(r store.Reader) error {
		b, err := r.Get(signerKey)
		key = append(key, b...)
		return err
	})
	if err == nil && len(key) != ed25519.PrivateKeySize {
		err = errors.New("wrong length")
	}
	if err != nil {
		return signer{}, fmt.Errorf("reading the wrapping key: %w", err)
	}
	return signer{key: key}, nil
}

type claims struct {
	Accessor string `json:"accessor"`
	Expires  int64  `json:"exp"`
	Issued   int64  `json:"iat"`
	Token    string `json:"jti"`
	Type     string `json:"type"`
}

func (s signer) sign(w *route.WrapInfo, now time.Time) (string, error) {
	js, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: s.key}, nil)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims{Accessor: w.Accessor, Expires: now.Add(w.TTL).Unix(), Issued: now.Unix(), Token: w.Token, Type: "wrapping"})
	if err != nil {
		return "", err
	}
	signed, err := js.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// open returns the wrapping token in a text: the text itself unless it is one
// of our JSON Web Tokens.
func (s signer) open(text string) (string, error) {
	if strings.Count(text, ".") != 2 {
		return text, nil
	}
	signed, err := jose.ParseSigned(text, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return "", err
	}
	payload, err := signed.Verify(s.key.Public())
	if err != nil {
		return "", err
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return "", err
	}
	return c.Token, nil
}
