package jwt

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// stateKeySize is that of the key of states, in bytes.
const stateKeySize = 32

// maxState bounds the text of a state, in bytes.
const maxState = 8 << 10

// flow is a login through the provider that has begun. It travels as the state
// parameter, sealed, so that beginning a login stores nothing and whoever begins
// many fills no memory.
type flow struct {
	ID       string `json:"id"`
	Role     string `json:"role"`
	Redirect string `json:"redirect,omitempty"`
	Nonce    string `json:"nonce,omitempty"`
	// Verifier is the PKCE code verifier (RFC 7636).
	Verifier string `json:"verifier,omitempty"`
	// Client is the hash of what the client that began the login keeps to itself.
	// The link of the login may reach others: a login that they finish must be of
	// no use to whoever sent it.
	Client []byte `json:"client,omitempty"`
	// Device is the device code (RFC 8628) of a login on another device.
	Device  string    `json:"device,omitempty"`
	Expires time.Time `json:"expires"`
}

// flowTime is how long a login through the provider may take.
const flowTime = 5 * time.Minute

var errState = fault.New(fault.Unauthenticated, "expired or missing OAuth state: begin the login again")

// sealer returns the cipher of states.
func (m *method) sealer(r store.Reader) (cipher.AEAD, error) {
	key, err := r.Get(m.storage.Key(kindStateKey))
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("reading the key of states: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal makes the state of a flow.
func (m *method) seal(ctx context.Context, f *flow) (text string, err error) {
	plain, err := json.Marshal(f)
	if err != nil {
		return "", fmt.Errorf("encoding a login: %w", err)
	}
	err = m.storage.View(ctx, func(r store.Reader) error {
		aead, err := m.sealer(r)
		if err == nil {
			text = base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, plain, nil))
		}
		return err
	})
	return text, err
}

// open reads a state that this mount has made, that is in time, that was not used
// and that comes from the client that began the login.
func (m *method) open(ctx context.Context, text, clientNonce string) (*flow, error) {
	text, _, _ = strings.Cut(text, ",ns=")
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || text == "" || len(text) > maxState {
		return nil, errState
	}
	var f flow
	err = m.storage.View(ctx, func(r store.Reader) error {
		aead, err := m.sealer(r)
		if errors.Is(err, store.ErrNotFound) {
			return errState
		}
		if err != nil {
			return err
		}
		plain, err := aead.Open(nil, nil, sealed, nil)
		if err != nil || json.Unmarshal(plain, &f) != nil {
			return errState
		}
		used, err := store.Exists(r, m.usedKey(f.ID))
		if err == nil && used {
			err = errState
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case !m.clock.Now().Before(f.Expires):
		return nil, errState
	case len(f.Client) > 0 && subtle.ConstantTimeCompare(f.Client, clientHash(clientNonce)) != 1:
		return nil, fault.New(fault.Unauthenticated, "invalid client_nonce: only the client that began the login can finish it")
	}
	return &f, nil
}

func clientHash(nonce string) []byte {
	h := sha256.Sum256([]byte(nonce))
	return h[:]
}

func (m *method) usedKey(id string) store.Key { return m.storage.Key(kindUsed, id) }

// use marks a flow as used, in the transaction that stores the token: of two who
// come with the same state, one gets a token.
func (m *method) use(tx store.Txn, f *flow) error {
	switch used, err := store.Exists(tx, m.usedKey(f.ID)); {
	case err != nil:
		return err
	case used:
		return errState
	}
	// Marks are removed by the minute; a timer stands for each minute that has any.
	minute := strconv.FormatInt(f.Expires.Unix()/60+1, 10)
	if err := tx.Put(m.usedKey(f.ID), []byte(minute)); err != nil {
		return err
	}
	if err := tx.Put(m.storage.Key(kindUsedUntil, minute, f.ID), nil); err != nil {
		return err
	}
	return m.timers.Schedule(tx, usedTimer+minute, f.Expires.Truncate(time.Minute).Add(time.Minute))
}

const usedTimer = "used-states-"

// perUpdate bounds a transaction that removes marks.
const perUpdate = 500

// Fire removes the marks of a minute that has passed.
func (m *method) Fire(ctx context.Context, name string) error {
	minute, ok := strings.CutPrefix(name, usedTimer)
	if !ok {
		return nil
	}
	for {
		var ids []string
		err := m.storage.Update(ctx, func(tx store.Txn) (err error) {
			if ids, err = store.Children(tx, m.storage.Key(kindUsedUntil, minute), "", perUpdate); err != nil {
				return err
			}
			for _, id := range ids {
				if err := tx.Delete(m.usedKey(id)); err != nil {
					return err
				}
				if err := tx.Delete(m.storage.Key(kindUsedUntil, minute, id)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(ids) < perUpdate {
			return err
		}
	}
}
