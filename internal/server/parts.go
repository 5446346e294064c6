package server

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/cofferhq/coffer/internal/audit"
	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/lockout"
	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/store"
)

// newBroker opens the audit devices: those stored and those declared.
func (s *Server) newBroker(ctx context.Context, b *barrier.Barrier) (*audit.Broker, error) {
	key, err := signingKey(ctx, b)
	if err != nil {
		return nil, err
	}
	var declared []audit.Device
	for _, d := range s.config.Audits {
		declared = append(declared, audit.Device{Path: d.Path + "/", Type: d.Type, Description: d.Description, Local: d.Local, Options: d.Options, Declared: true})
	}
	broker, err := audit.New(audit.Config{
		Store: b, Clock: s.clock, Log: s.log, Signer: key, Node: s.nodeID(), AllowAPI: s.config.AllowAPIAuditCreation, Declared: declared,
	})
	if err != nil {
		return nil, err
	}
	return broker, broker.Load(ctx)
}

func (s *Server) nodeID() string {
	if s.raft == nil {
		return "memory"
	}
	return s.raft.Stats().NodeID
}

var signingKeyKey = store.NewKey(store.RootNamespace, store.System, store.KindConfig, "audit-signing-key")

// signingKey returns the key that signs the checkpoints of audit logs. It is
// made when the cluster is born, see [born].
func signingKey(ctx context.Context, b *barrier.Barrier) (key ed25519.PrivateKey, err error) {
	err = b.View(ctx, func(r store.Reader) error {
		have, err := r.Get(signingKeyKey)
		key = bytes.Clone(have)
		return err
	})
	if err == nil && len(key) != ed25519.PrivateKeySize {
		err = errors.New("malformed")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the audit signing key: %w", err)
	}
	return key, nil
}

// initSigningKey makes the key unless it is there.
func initSigningKey(tx store.Txn) error {
	if ok, err := store.Exists(tx, signingKeyKey); err != nil || ok {
		return err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	return tx.Put(signingKeyKey, key)
}

// lockout counts failed logins, by the limits of the mount, else those that the
// configuration has for its type or for all.
func (s *Server) lockout(b *barrier.Barrier, mounts *mount.Table) *lockout.Store {
	return lockout.New(lockout.Config{Store: b, Clock: s.clock, Rand: rand.Reader, Limits: func(ns store.NamespaceID, mountType, accessor string) lockout.Limits {
		l := s.lockoutDefaults(mountType)
		m, err := mounts.ByAccessor(ns, accessor)
		if err != nil || m.Entry().Settings.Lockout == nil {
			return l
		}
		own := m.Entry().Settings.Lockout
		l.Disable = own.Disable
		l.Threshold = cmp.Or(own.Threshold, l.Threshold)
		l.Duration = cmp.Or(own.Duration, l.Duration)
		l.CounterReset = cmp.Or(own.CounterReset, l.CounterReset)
		return l
	}})
}

func (s *Server) lockoutDefaults(mountType string) lockout.Limits {
	l := lockout.DefaultLimits
	for _, kind := range []string{"all", mountType} {
		for _, c := range s.config.UserLockouts {
			if c.Type != kind {
				continue
			}
			l.Disable = c.Disabled
			l.Threshold = cmp.Or(c.Threshold, l.Threshold)
			l.Duration = cmp.Or(c.Duration, l.Duration)
			l.CounterReset = cmp.Or(c.CounterReset, l.CounterReset)
		}
	}
	return l
}
