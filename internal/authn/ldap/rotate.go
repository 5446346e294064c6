package ldap

import (
	"context"
	"crypto/subtle"

	"github.com/go-ldap/ldap/v3"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// rotateRoot changes the service account's password. The new one is stored before
// the directory gets it, beside the old one: whenever Coffer stops, one of the two
// is in force.
func (m *method) rotateRoot(ctx context.Context, _ *route.Call, _ emptyRequest) (route.None, error) {
	select {
	case m.rotating <- struct{}{}:
	case <-ctx.Done():
		return route.None{}, ctx.Err()
	}
	defer func() { <-m.rotating }()
	var cfg config
	err := m.storage.View(ctx, func(r store.Reader) (err error) {
		cfg, err = m.config(r)
		return err
	})
	if err != nil {
		return route.None{}, err
	}
	if cfg.BindDN == "" || cfg.BindPassword == "" {
		return route.None{}, fault.New(fault.Invalid, "there is no password to rotate: config has no binddn and bindpass")
	}
	d, err := connect(ctx, &cfg)
	if err != nil {
		return route.None{}, err
	}
	defer d.Close()
	if err := m.bindService(ctx, d); err != nil {
		return route.None{}, err
	}
	next, err := m.passwords(ctx, cfg.PasswordPolicy)
	if err != nil {
		return route.None{}, err
	}
	if err := m.change(ctx, func(c *config) { c.NextPassword = next }); err != nil {
		return route.None{}, err
	}
	if err := d.setPassword(cfg.BindDN, next); err != nil {
		return route.None{}, fault.Wrap(fault.Upstream, err, "the directory does not let binddn change its own password")
	}
	return route.None{}, m.settle(ctx, next)
}

// setPassword gives an entry a password: by the operation for that (RFC 3062), or
// by writing the attribute where a directory does not know it.
func (d *directory) setPassword(dn, password string) error {
	_, err := d.PasswordModify(ldap.NewPasswordModifyRequest(dn, "", password))
	if !ldap.IsErrorAnyOf(err, ldap.LDAPResultProtocolError, ldap.LDAPResultUnwillingToPerform) {
		return err
	}
	r := ldap.NewModifyRequest(dn, nil)
	r.Replace("userPassword", []string{password})
	return d.Modify(r)
}

// settle records that the directory has taken a new password. A client that goes
// away meanwhile changes nothing about that.
func (m *method) settle(ctx context.Context, password string) error {
	return m.change(context.WithoutCancel(ctx), func(c *config) {
		if subtle.ConstantTimeCompare([]byte(c.NextPassword), []byte(password)) == 1 {
			c.BindPassword, c.NextPassword = password, ""
		}
	})
}

func (m *method) change(ctx context.Context, fn func(*config)) error {
	return m.storage.Update(ctx, func(tx store.Txn) error {
		c, err := m.config(tx)
		if err != nil {
			return err
		}
		fn(&c)
		return store.PutJSON(tx, m.configKey(), &c)
	})
}
