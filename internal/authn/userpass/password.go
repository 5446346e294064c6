package userpass

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

const (
	// newCost is the bcrypt cost of hashes made here. Ready-made ones may cost
	// up to maxCost, which is about a second.
	newCost = bcrypt.DefaultCost
	maxCost = 14
	// maxPassword is how much of a password bcrypt reads, in bytes.
	maxPassword = 72
)

// passwords makes and checks hashes. At most as many are worked on at a time
// as there are processors, so that a flood of logins waits in line instead of
// taking the time of everybody else.
//
// Checking takes the same work for every user of a mount, existing or not: that
// of the highest cost in use. The work of bcrypt doubles with each step of the
// cost, so a hash of a lower cost c is made up for by one more hash of each
// cost from c to just below the highest.
type passwords struct{ slots chan struct{} }

func newPasswords() passwords {
	return passwords{slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

func (p passwords) acquire(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fault.Wrap(fault.Unavailable, ctx.Err(), "too many logins at a time")
	}
}

func (p passwords) release() { <-p.slots }

// hash gives the hash to store for the credentials, or "" if there are none.
func (p passwords) hash(ctx context.Context, in credentials) (string, error) {
	switch {
	case in.Password.Set && in.Hash.Set:
		return "", fault.New(fault.Invalid, "give 'password' or 'password_hash', not both")
	case in.Hash.Set:
		return checkHash(in.Hash.Value)
	case in.Password.Set:
		return p.hashPassword(ctx, in.Password.Value)
	}
	return "", nil
}

func (p passwords) hashPassword(ctx context.Context, password wire.Secret) (string, error) {
	text := password.Reveal()
	switch {
	case text == "":
		return "", fault.New(fault.Invalid, "the password is empty")
	case len(text) > maxPassword:
		return "", fault.Newf(fault.Invalid, "the password is longer than %d bytes: bcrypt would ignore the rest", maxPassword)
	case !distinct(text):
		return "", fault.New(fault.Invalid, "the password contains a NUL character")
	}
	if err := p.acquire(ctx); err != nil {
		return "", err
	}
	defer p.release()
	b, err := bcrypt.GenerateFromPassword([]byte(text), newCost)
	if err != nil {
		return "", errors.New("hashing a password")
	}
	return string(b), nil
}

// distinct reports whether bcrypt tells the password from every other such
// one: it reads no further than 72 bytes, and repeats the password with a NUL
// between, so that "a" and "a\x00a" are the same to it.
func distinct(password string) bool {
	return len(password) <= maxPassword && strings.IndexByte(password, 0) < 0
}

// checkHash accepts the modular crypt format: "$2b$", two digits of cost, "$",
// 22 characters of salt and 31 of hash.
func checkHash(hash wire.Secret) (string, error) {
	text := hash.Reveal()
	cost, err := bcrypt.Cost([]byte(text))
	if err != nil || len(text) != 60 || text[1] != '2' || !strings.Contains("abxy", text[2:3]) || strings.Trim(text[7:], hashAlphabet) != "" {
		return "", fault.New(fault.Invalid, `'password_hash' is not a bcrypt hash such as "$2b$10$..." with 60 characters`)
	}
	if cost > maxCost {
		return "", fault.Newf(fault.Invalid, "'password_hash' has a bcrypt cost of %d; at most %d is allowed", cost, maxCost)
	}
	return text, nil
}

const hashAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func costOf(hash string) int {
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return newCost
	}
	return cost
}

// matches compares the password with the hash of a user; hash is "" if there
// is no such user. A password that is refused has cost the work of the given
// cost.
func (p passwords) matches(ctx context.Context, hash string, cost int, password wire.Secret) (bool, error) {
	if err := p.acquire(ctx); err != nil {
		return false, err
	}
	defer p.release()
	text := password.Reveal()
	known := hash != "" && distinct(text)
	if !known {
		hash = decoy(cost)
	}
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte(text)) == nil && known {
		return true, nil
	}
	for c := costOf(hash); c < cost; c++ {
		_ = bcrypt.CompareHashAndPassword([]byte(decoy(c)), []byte(text))
	}
	return false, nil
}

// decoy is a hash of the given cost that belongs to no user.
func decoy(cost int) string {
	return fmt.Sprintf("$2a$%02d$%s", cost, "abcdefghijklmnopqrstuu7zWnYjPQd1VJdXQXu5P8nzoFfJm8zfG")
}
