package approle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// noAccessor is a text that clients know.
const noAccessor = "failed to find accessor entry for secret_id_accessor"

func (m *method) listSecretIDs(ctx context.Context, c *route.Call, in roleName) (keys route.Keys, err error) {
	if err := checkName(in.Role); err != nil {
		return keys, err
	}
	err = m.storage.View(ctx, func(rd store.Reader) error {
		r, err := m.getRole(rd, in.Role)
		if errors.Is(err, store.ErrNotFound) {
			return fault.Newf(fault.Invalid, "role %q does not exist", in.Role)
		}
		if err != nil {
			return err
		}
		for e, err := range rd.Scan(store.Under(m.storage.Key(kindAccessor, r.UID))) {
			if err != nil {
				return err
			}
			if expires, _, err := parseAccessor(e.Value); err != nil || !expires.IsZero() && !c.Now.Before(expires) {
				continue
			}
			keys.Keys = append(keys.Keys, e.Key.Last())
		}
		return nil
	})
	return keys, err
}

// parseAccessor reads an accessor's row.
func parseAccessor(row []byte) (expires time.Time, hash string, err error) {
	if len(row) < 8 {
		return time.Time{}, "", errors.New("decoding an accessor: too short")
	}
	return parseTimePart(string(row[:8])), string(row[8:]), nil
}

// find reads a secret id of the role by its hash.
func (m *method) find(rd store.Reader, r *role, hash string, now time.Time) (*found, error) {
	s, err := m.getSecretID(rd, r.UID, hash, now)
	if err != nil {
		return nil, err
	}
	return &found{role: r, hash: hash, secretID: s}, nil
}

// found is a secret id with its place.
type found struct {
	role *role
	hash string
	secretID
}

// bySecretID finds a secret id of a role by its text, byAccessor by its
// accessor. The error is [store.ErrNotFound] if the role has no such one: the
// accessor of another role's is none of this one's.
func (m *method) bySecretID(rd store.Reader, name string, secret wire.Secret, now time.Time) (*found, error) {
	r, err := m.getRole(rd, name)
	if err != nil {
		return nil, missingRole(err, name)
	}
	return m.find(rd, &r, r.hash(trim(secret)), now)
}

func (m *method) byAccessor(rd store.Reader, name, accessor string, now time.Time) (*found, error) {
	r, err := m.getRole(rd, name)
	if err != nil {
		return nil, missingRole(err, name)
	}
	row, err := rd.Get(m.accessorKey(r.UID, accessor))
	if err != nil {
		return nil, err
	}
	_, hash, err := parseAccessor(row)
	if err != nil {
		return nil, err
	}
	return m.find(rd, &r, hash, now)
}

func (s *secretID) answer() *lookupAnswer {
	a := &lookupAnswer{
		Accessor: s.Accessor, CIDRs: s.CIDRs, TokenCIDRs: s.TokenCIDRs, Metadata: s.Metadata, NumUses: s.NumUses,
		TTL: wire.Duration(s.TTL), Created: s.Created, Updated: s.Updated, Expires: s.Expires,
	}
	if a.CIDRs == nil {
		a.CIDRs = []string{}
	}
	if a.TokenCIDRs == nil {
		a.TokenCIDRs = []string{}
	}
	if a.Metadata == nil {
		a.Metadata = map[string]string{}
	}
	return a
}

// lookup answers 204 for a secret id that there is not.
func (m *method) lookup(ctx context.Context, c *route.Call, in secretIDRequest) (answer *lookupAnswer, err error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	err = m.storage.View(ctx, func(rd store.Reader) error {
		f, err := m.bySecretID(rd, in.Role, in.SecretID, c.Now)
		if isAbsent(err) {
			return nil
		}
		if err == nil {
			answer = f.answer()
		}
		return err
	})
	return answer, err
}

func (in *secretIDRequest) check() error {
	if trim(in.SecretID) == "" {
		return missing("secret_id")
	}
	return checkName(in.Role)
}

func (in *accessorRequest) check() error {
	if in.Accessor == "" {
		return missing("secret_id_accessor")
	}
	return checkName(in.Role)
}

// isAbsent tells the absence of a secret id from that of its role, which has a
// message.
func isAbsent(err error) bool {
	return errors.Is(err, store.ErrNotFound) && fault.Message(err) == ""
}

// lookupAccessor answers an accessor that there is not with status 404 and a
// body, as clients expect.
func (m *method) lookupAccessor(ctx context.Context, c *route.Call, in accessorRequest) (*route.Reply, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	var f *found
	err := m.storage.View(ctx, func(rd store.Reader) (err error) {
		f, err = m.byAccessor(rd, in.Role, in.Accessor, c.Now)
		return err
	})
	switch {
	case isAbsent(err):
		reply, err := route.Data(map[string]string{"error": noAccessor})
		if err != nil {
			return nil, err
		}
		reply.Missing = true
		return reply, nil
	case err != nil:
		return nil, err
	}
	return route.Data(f.answer())
}

func (m *method) destroy(ctx context.Context, c *route.Call, in secretIDRequest) (route.None, error) {
	if err := in.check(); err != nil {
		return route.None{}, err
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error {
		f, err := m.bySecretID(tx, in.Role, in.SecretID, c.Now)
		if isAbsent(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return m.removeSecretID(tx, f.role.UID, f.hash, &f.secretID)
	})
}

func (m *method) destroyAccessor(ctx context.Context, c *route.Call, in accessorRequest) (route.None, error) {
	if err := in.check(); err != nil {
		return route.None{}, err
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error {
		f, err := m.byAccessor(tx, in.Role, in.Accessor, c.Now)
		if isAbsent(err) {
			return fault.New(fault.NotFound, noAccessor)
		}
		if err != nil {
			return fmt.Errorf("finding a secret id: %w", err)
		}
		return m.removeSecretID(tx, f.role.UID, f.hash, &f.secretID)
	})
}
