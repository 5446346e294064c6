package approle

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// secretID is a row.
type secretID struct {
	Accessor string `json:"accessor"`
	// NumUses is how many logins are left, 0 for no limit. The row goes with
	// the last.
	NumUses    int               `json:"num_uses,omitempty"`
	TTL        time.Duration     `json:"ttl,omitempty"`
	Created    time.Time         `json:"created"`
	Updated    time.Time         `json:"updated"`
	Expires    time.Time         `json:"expires,omitzero"`
	CIDRs      []string          `json:"cidrs,omitempty"`
	TokenCIDRs []string          `json:"token_cidrs,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
}

func (s *secretID) expired(now time.Time) bool {
	return !s.Expires.IsZero() && !now.Before(s.Expires)
}

// maxMetadata bounds a secret id's metadata: every token gets a copy.
const maxMetadata = 8 << 10

// hash is what is kept of a secret id.
func (r *role) hash(secret wire.Secret) string {
	mac := hmac.New(sha256.New, r.Key)
	mac.Write([]byte(secret.Reveal()))
	return string(mac.Sum(nil))
}

func (m *method) secretIDKey(uid, hash string) store.Key {
	return m.storage.Key(kindSecretID, uid, hash)
}

func (m *method) accessorKey(uid, accessor string) store.Key {
	return m.storage.Key(kindAccessor, uid, accessor)
}

// getSecretID reads a secret id of a role; the error is [store.ErrNotFound] if
// there is none that has not expired.
func (m *method) getSecretID(r store.Reader, uid, hash string, now time.Time) (secretID, error) {
	s, err := store.GetJSON[secretID](r, m.secretIDKey(uid, hash))
	if err == nil && s.expired(now) {
		return secretID{}, store.ErrNotFound
	}
	return s, err
}

func (m *method) putSecretID(tx store.Txn, uid, hash string, s *secretID) error {
	return store.PutJSON(tx, m.secretIDKey(uid, hash), s)
}

// addSecretID writes a new secret id with its indexes.
func (m *method) addSecretID(tx store.Txn, uid, hash string, s *secretID) error {
	if err := m.putSecretID(tx, uid, hash, s); err != nil {
		return err
	}
	if err := tx.Put(m.accessorKey(uid, s.Accessor), []byte(timePart(s.Expires)+hash)); err != nil {
		return err
	}
	if s.Expires.IsZero() {
		return nil
	}
	return m.addExpiry(tx, s.Expires, uid, hash)
}

// removeSecretID removes a secret id with its indexes.
func (m *method) removeSecretID(tx store.Txn, uid, hash string, s *secretID) error {
	keys := []store.Key{m.secretIDKey(uid, hash), m.accessorKey(uid, s.Accessor)}
	if !s.Expires.IsZero() {
		keys = append(keys, m.expiryKey(s.Expires, uid, hash))
	}
	for _, key := range keys {
		if err := tx.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

func (m *method) generate(ctx context.Context, c *route.Call, in generateRequest) (secretIDAnswer, error) {
	text, err := newUUID(m.rand)
	if err != nil {
		return secretIDAnswer{}, err
	}
	return m.create(ctx, c, in.Role, wire.Secret(text), in.secretIDSettings)
}

func (m *method) writeCustom(ctx context.Context, c *route.Call, in customRequest) (secretIDAnswer, error) {
	secret := trim(in.SecretID)
	switch {
	case secret == "":
		return secretIDAnswer{}, missing("secret_id")
	case len(secret) > maxSecretID:
		return secretIDAnswer{}, fault.Newf(fault.Invalid, "the secret_id is longer than %d bytes", maxSecretID)
	}
	return m.create(ctx, c, in.Role, secret, in.secretIDSettings)
}

func (m *method) create(ctx context.Context, c *route.Call, name string, secret wire.Secret, in secretIDSettings) (secretIDAnswer, error) {
	if err := checkName(name); err != nil {
		return secretIDAnswer{}, err
	}
	accessor, err := newUUID(m.rand)
	if err != nil {
		return secretIDAnswer{}, err
	}
	var s secretID
	err = m.storage.Update(ctx, func(tx store.Txn) error {
		r, err := m.getRole(tx, name)
		if err != nil {
			return missingRole(err, name)
		}
		if !r.BindSecretID {
			return fault.New(fault.Invalid, "bind_secret_id is not set on the role: it takes no secret id")
		}
		if s, err = in.secretID(&r, c); err != nil {
			return err
		}
		s.Accessor = accessor
		hash := r.hash(secret)
		switch taken, err := store.Exists(tx, m.secretIDKey(r.UID, hash)); {
		case err != nil:
			return err
		case taken:
			return fault.New(fault.Invalid, "the secret_id is in use")
		}
		return m.addSecretID(tx, r.UID, hash, &s)
	})
	if err != nil {
		return secretIDAnswer{}, err
	}
	return secretIDAnswer{SecretID: secret.Reveal(), Accessor: accessor, NumUses: s.NumUses, TTL: wire.Duration(s.TTL)}, nil
}

// secretID applies the settings within the limits of the role and the mount.
func (in *secretIDSettings) secretID(r *role, c *route.Call) (s secretID, err error) {
	s = secretID{NumUses: in.NumUses.Or(r.SecretIDNumUses), TTL: in.TTL.Or(wire.Duration(r.SecretIDTTL)).D(), Metadata: in.Metadata, Created: c.Now, Updated: c.Now}
	switch {
	case s.NumUses < 0:
		return s, fault.New(fault.Invalid, "num_uses cannot be negative")
	case r.SecretIDNumUses > 0 && (s.NumUses == 0 || s.NumUses > r.SecretIDNumUses):
		return s, fault.New(fault.Invalid, "num_uses cannot be higher than the role's secret_id_num_uses")
	case r.SecretIDTTL > 0 && (s.TTL == 0 || s.TTL > r.SecretIDTTL):
		return s, fault.New(fault.Invalid, "ttl cannot be longer than the role's secret_id_ttl")
	}
	size := 0
	for name, value := range in.Metadata {
		size += len(name) + len(value)
	}
	if size > maxMetadata {
		return s, fault.Newf(fault.Invalid, "metadata is larger than %d bytes", maxMetadata)
	}
	if s.CIDRs, err = cleanWithin(in.CIDRs, r.BoundCIDRs, "cidr_list"); err != nil {
		return s, err
	}
	if s.TokenCIDRs, err = cleanWithin(in.TokenCIDRs, r.Token.BoundCIDRs, "token_bound_cidrs"); err != nil {
		return s, err
	}
	s.TokenCIDRs = authn.BareHosts(s.TokenCIDRs)
	if c.Mount.MaxTTL > 0 && s.TTL > c.Mount.MaxTTL {
		s.TTL = c.Mount.MaxTTL
	}
	if s.TTL > 0 {
		s.Expires = c.Now.Add(s.TTL)
	}
	return s, nil
}
