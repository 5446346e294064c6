package totp

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// hashOf finds a hash function by the name that URLs have for it, nil if there
// is none.
func hashOf(name string) func() hash.Hash {
	switch name {
	case "SHA1":
		return sha1.New
	case "SHA256":
		return sha256.New
	case "SHA512":
		return sha512.New
	}
	return nil
}

// Code is HOTP (RFC 4226, section 5.3) of a counter; with the number of periods
// since 1970 as the counter it is TOTP (RFC 6238).
func code(h func() hash.Hash, secret []byte, counter uint64, digits int) string {
	m := hmac.New(h, secret)
	m.Write(binary.BigEndian.AppendUint64(nil, counter))
	sum := m.Sum(nil)
	at := sum[len(sum)-1] & 0x0f
	n := uint64(binary.BigEndian.Uint32(sum[at:]) & 0x7fffffff)
	mod := uint64(1)
	for range digits {
		mod *= 10
	}
	return fmt.Sprintf("%0*d", digits, n%mod)
}

// step is the number of periods since 1970.
func (k *keyRow) step(now time.Time) int64 { return now.Unix() / k.Period }

func (k *keyRow) code(step int64) string {
	return code(hashOf(k.Algorithm), k.Secret, uint64(step), k.Digits)
}

type codeAnswer struct {
	Code string `json:"code"`
	// Generated and Expires are Unix times: the beginning and the end of the
	// code's period.
	Expires   int64  `json:"expire_time"`
	Generated int64  `json:"generated"`
	Period    string `json:"period"`
}

func (e *Engine) readCode(ctx context.Context, c *route.Call, in nameRequest) (codeAnswer, error) {
	k, err := e.read(ctx, in.Name, errNoKey)
	if err != nil {
		return codeAnswer{}, err
	}
	step := k.step(c.Now)
	return codeAnswer{
		Code: k.code(step), Generated: step * k.Period, Expires: (step + 1) * k.Period,
		Period: (time.Duration(k.Period) * time.Second).String(),
	}, nil
}

type checkRequest struct {
	Name string      `path:"name" doc:"Name of the key."`
	Code wire.Secret `json:"code" sensitive:"true" doc:"The code."`
}

type checkAnswer struct {
	Valid bool `json:"valid"`
}

// used are the time steps whose codes were accepted.
type used struct{ Steps []int64 }

var errUsed = fault.New(fault.Invalid, "this code was used already; wait for the next one")

func (e *Engine) checkCode(ctx context.Context, c *route.Call, in checkRequest) (checkAnswer, error) {
	var answer checkAnswer
	err := e.host.Storage.Update(ctx, func(tx store.Txn) error {
		answer = checkAnswer{}
		k, err := e.row(tx, in.Name, errNoKey)
		if err != nil {
			return err
		}
		given := in.Code.Reveal()
		if err := k.checkForm(given); err != nil {
			return err
		}
		step, ok := k.match(given, k.step(c.Now))
		if !ok {
			return nil
		}
		answer.Valid = true
		return e.use(tx, in.Name, &k, step, k.step(c.Now))
	})
	return answer, err
}

// checkForm refuses what cannot be a code.
func (k *keyRow) checkForm(given string) error {
	digits := func(c byte) bool { return c >= '0' && c <= '9' }
	for i := range len(given) {
		if !digits(given[i]) {
			return fault.New(fault.Invalid, "a code is digits only")
		}
	}
	if len(given) != k.Digits {
		return fault.Newf(fault.Invalid, "a code of this key has %d digits", k.Digits)
	}
	return nil
}

// match finds the time step of a code, looking at all that are accepted.
func (k *keyRow) match(given string, now int64) (step int64, ok bool) {
	for s := now - k.Skew; s <= now+k.Skew; s++ {
		if subtle.ConstantTimeCompare([]byte(k.code(s)), []byte(given)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok
}

// use records that the code of a step was accepted, unless it was before.
func (e *Engine) use(tx store.Txn, name string, k *keyRow, step, now int64) error {
	u, err := store.GetJSON[used](tx, e.key(kindUsed, name))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	u.Steps = slices.DeleteFunc(u.Steps, func(s int64) bool { return s < now-k.Skew })
	if slices.Contains(u.Steps, step) {
		return errUsed
	}
	u.Steps = append(u.Steps, step)
	return store.PutJSON(tx, e.key(kindUsed, name), u)
}
