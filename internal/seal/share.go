package seal

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/seal/shamir"
	"github.com/cofferhq/coffer/internal/wire"
)

var errWrongShares = fault.New(fault.Invalid, "these shares do not open the seal; progress was reset")

// split divides the unseal key. One share of one is the key itself.
func split(key barrier.Key, shares, threshold int, rand io.Reader) ([][]byte, error) {
	if shares == 1 {
		return [][]byte{append([]byte(nil), key.Expose()...)}, nil
	}
	return shamir.Split(key.Expose(), shares, threshold, rand)
}

func combine(shares [][]byte, threshold int) (barrier.Key, error) {
	if threshold == 1 && len(shares) == 1 {
		return barrier.ParseKey(shares[0])
	}
	raw, err := shamir.Combine(shares)
	if err != nil {
		return barrier.Key{}, err
	}
	defer clear(raw)
	return barrier.ParseKey(raw)
}

// parseShare decodes a share of a seal with that many shares.
func parseShare(text wire.Secret, shares int) ([]byte, error) {
	if text == "" {
		return nil, fault.New(fault.Invalid, "'key' must be a share, hexadecimal or base64")
	}
	want := barrier.KeySize + 1
	if shares == 1 {
		want = barrier.KeySize
	}
	raw, err := hex.DecodeString(text.Reveal())
	if err != nil || len(raw) != want {
		clear(raw)
		raw, err = base64.StdEncoding.DecodeString(text.Reveal())
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "'key' must be a valid hex or base64 string")
	}
	if len(raw) != want {
		n := len(raw)
		clear(raw)
		return nil, fault.Newf(fault.Invalid, "'key' has %d bytes; a share has %d", n, want)
	}
	return raw, nil
}

// tally collects the shares of one ceremony.
type tally struct {
	// nonce names the ceremony; "" means that none is under way.
	nonce  string
	shares [][]byte
}

// add takes a share over, unless it is there already.
func (t *tally) add(share []byte) {
	if t.has(share) {
		clear(share)
		return
	}
	t.shares = append(t.shares, share)
}

// has reports whether share was given.
func (t *tally) has(share []byte) bool {
	same := 0
	for _, s := range t.shares {
		same |= subtle.ConstantTimeCompare(s, share)
	}
	return same == 1
}

// clear forgets the shares and keeps the nonce.
func (t *tally) clear() {
	for _, s := range t.shares {
		clear(s)
	}
	t.shares = nil
}

// end forgets all.
func (t *tally) end() {
	t.clear()
	t.nonce = ""
}

// checkNonce compares the nonce a client gave.
func (t *tally) checkNonce(given string) error {
	if given == "" {
		return fault.New(fault.Invalid, "missing nonce")
	}
	if subtle.ConstantTimeCompare([]byte(given), []byte(t.nonce)) != 1 {
		return fault.New(fault.Invalid, "incorrect nonce; another operation may be under way")
	}
	return nil
}

// newUUID returns a random UUID (RFC 9562, version 4).
func newUUID(rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}
