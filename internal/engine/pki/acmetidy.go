package pki

import (
	"time"

	"github.com/cofferhq/coffer/internal/engine/pki/acme"
	"github.com/cofferhq/coffer/internal/store"
)

// tidyACME removes orders and authorisations that have ended, and accounts that
// have had none for long.
func (e *Engine) tidyACME(tx store.Txn, s *tidyState) (string, error) {
	now := e.host.Clock.Now()
	return e.page(tx, s, store.Under(e.key(kindACME)), func(row store.Entry) error {
		parts, err := row.Key.Parts()
		if err != nil {
			return err
		}
		switch parts[0] {
		case "order":
			o, err := store.GetJSON[acmeOrder](tx, row.Key)
			if err != nil || now.Before(o.Expires.Add(s.Options.SafetyBuffer.D())) {
				return nil //nolint:nilerr // a row that cannot be read is kept
			}
			s.Orders++
			return tx.Delete(row.Key)
		case "auth":
			a, err := store.GetJSON[authorization](tx, row.Key)
			if err != nil || now.Before(a.Expires.Add(s.Options.SafetyBuffer.D())) {
				return nil //nolint:nilerr // as above
			}
			return tx.Delete(row.Key)
		case "account":
			return e.tidyAccount(tx, s, row.Key, now)
		}
		return nil
	})
}

func (e *Engine) tidyAccount(tx store.Txn, s *tidyState, key store.Key, now time.Time) error {
	a, err := store.GetJSON[account](tx, key)
	if err != nil || now.Before(a.Created.Add(s.Options.AccountBuffer.D())) {
		return nil //nolint:nilerr // a row that cannot be read is kept
	}
	rng := store.Under(e.key(kindACME, "order", a.ID))
	rng.Limit = 1
	for _, err := range tx.Scan(rng) {
		return err // it has orders
	}
	thumb, err := acme.Thumbprint(&a.Key)
	if err != nil {
		return err
	}
	s.Accounts++
	if err := tx.Delete(e.key(kindACME, "thumb", thumb)); err != nil {
		return err
	}
	return tx.Delete(key)
}
