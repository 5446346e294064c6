package pki

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/pki/acme"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// The kinds of the engine's rows.
const (
	kindKey     store.Kind = 1  // (id): a private key
	kindIssuer  store.Kind = 2  // (id): a CA certificate and its settings
	kindRole    store.Kind = 3  // (name)
	kindConfig  store.Kind = 4  // (name): the mount's settings
	kindCert    store.Kind = 5  // (serial): a certificate that was made here
	kindRevoked store.Kind = 6  // (issuer id, serial): a revocation
	kindExpiry  store.Kind = 7  // (end, serial): certificates by when they end
	kindName    store.Kind = 8  // (name, serial): certificates by their names
	kindTidy    store.Kind = 9  // (): where tidying stands
	kindACME    store.Kind = 10 // (table, ...): accounts, orders and their parts
)

// Engine is a mounted instance.
type Engine struct {
	host      engine.Host
	authority authorities
	roles     roles
	lists     revocations
	acme      *acmeServer
	stop      func()
}

var (
	_ engine.Revoker = (*Engine)(nil)
	_ engine.Closer  = (*Engine)(nil)
)

func newEngine(h engine.Host, n acme.Network) *Engine {
	e := &Engine{host: h}
	e.acme = newACME(e, n)
	e.stop = h.Storage.Watch(e.changed)
	return e
}

// Close stops following the mount's changes.
func (e *Engine) Close() error {
	e.stop()
	return nil
}

// changed drops what memory holds of rows that have changed.
func (e *Engine) changed(changes []store.Change) {
	if changes == nil {
		e.authority.drop()
		e.roles.drop()
		e.lists.drop()
		return
	}
	for i := range changes {
		switch c := &changes[i]; c.Key.Kind() {
		case kindKey, kindIssuer, kindConfig:
			e.authority.drop()
		case kindRole:
			e.roles.drop()
		case kindRevoked:
			e.lists.follow(c)
		}
	}
}

func (e *Engine) key(kind store.Kind, parts ...string) store.Key {
	return e.host.Storage.Key(kind, parts...)
}

func (e *Engine) view(ctx context.Context, fn func(store.Reader) error) error {
	return e.host.Storage.View(ctx, fn)
}

func (e *Engine) update(ctx context.Context, fn func(store.Txn) error) error {
	return e.host.Storage.Update(ctx, fn)
}

// setting reads a row of the mount's settings into v, which holds the defaults.
func setting[T any](e *Engine, r store.Reader, name string, v *T) error {
	row, err := store.GetJSON[T](r, e.key(kindConfig, name))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the settings %q: %w", name, err)
	}
	*v = row
	return nil
}

func (e *Engine) putSetting(tx store.Txn, name string, v any) error {
	return store.PutJSON(tx, e.key(kindConfig, name), v)
}

// newID returns a random id.
func (e *Engine) newID() (string, error) { return wire.NewUUID(e.host.Rand) }

// serialBits is the length of a serial number: as long as RFC 5280 lets a
// positive one be, so that it cannot be guessed nor met twice.
const serialBits = 159

// newSerial returns a random serial number that is not zero.
func (e *Engine) newSerial() (*big.Int, error) {
	for {
		n, err := rand.Int(e.host.Rand, new(big.Int).Lsh(big.NewInt(1), serialBits))
		if err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
		if n.Sign() > 0 {
			return n, nil
		}
	}
}

// colons writes bytes as pairs of hexadecimal digits between colons, as serial
// numbers and key identifiers are shown.
func colons(b []byte) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 3*len(b))
	for i, c := range b {
		if i > 0 {
			out = append(out, ':')
		}
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

// serialText is how a serial number is shown.
func serialText(n *big.Int) string {
	if n.Sign() == 0 {
		return "00"
	}
	return colons(n.Bytes())
}

// parseSerial reads a serial number as clients write it: hexadecimal digits,
// between colons, dashes or nothing.
func parseSerial(text string) (*big.Int, bool) {
	digits := strings.NewReplacer(":", "", "-", "").Replace(strings.TrimSpace(text))
	if digits == "" || len(digits) > 128 || strings.ContainsFunc(digits, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'f') && (r < 'A' || r > 'F')
	}) {
		return nil, false
	}
	return new(big.Int).SetString(digits, 16)
}

// serialPart is a serial number as part of a key. Numbers of one length are in
// their order.
func serialPart(n *big.Int) string { return string(n.Bytes()) }

// checkName refuses names of issuers, keys and roles that a path or a reference
// could not hold.
func checkName(what, name string) error {
	if name == "" {
		return nil
	}
	if len(name) > 256 || strings.ContainsFunc(name, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("-_.", r)
	}) || name[0] == '.' || name[0] == '-' {
		return fault.Newf(fault.Invalid, "%s may have letters, digits, dots, dashes and underscores, and begins with a letter, digit or underscore", what)
	}
	if name == refDefault {
		return fault.Newf(fault.Invalid, "%s cannot be %q: that is what the reference to the default is called", what, refDefault)
	}
	return nil
}

// refDefault is the reference to the default issuer or key.
const refDefault = "default"

// nameRequest is a request about something with a name.
type nameRequest struct {
	Name string `path:"name" doc:"Name of the role."`
}
