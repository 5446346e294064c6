package ldap

import (
	"context"
	"fmt"

	"github.com/go-ldap/ldap/v3"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/store"
)

// Interrupt leaves a rotation as a crash does: the next password is stored and
// nothing else is known.
func Interrupt(ctx context.Context, s engine.Storage, next string) error {
	m := &method{storage: s}
	return s.Update(ctx, func(tx store.Txn) error {
		c, err := m.config(tx)
		if err != nil {
			return err
		}
		c.NextPassword = next
		return store.PutJSON(tx, m.configKey(), &c)
	})
}

// OneAssertion renders a filter with a name and reads it back.
func OneAssertion(name string) error {
	filter, err := render("({{.UserAttr}}={{.Username}})", filterValues{UserAttr: "uid", Username: name})
	if err != nil {
		return err
	}
	packet, err := ldap.CompileFilter(filter)
	if err != nil {
		return fmt.Errorf("%q makes no filter: %w", name, err)
	}
	if name == "" {
		return nil
	}
	if packet.Tag != ldap.FilterEqualityMatch || len(packet.Children) != 2 || string(packet.Children[1].ByteValue) != name && packet.Children[1].Value != name {
		return fmt.Errorf("%q makes the filter %s", name, filter)
	}
	return nil
}
