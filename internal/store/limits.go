package store

import "github.com/cofferhq/coffer/internal/fault"

// Budget counts what one transaction writes and refuses what is beyond
// [MaxKey], [MaxValue] and [MaxTxn], so that every implementation has the same
// limits. The zero value is a full budget.
type Budget struct{ spent int }

// Spend accounts for writing value at key. A refusal is [fault.TooLarge], or
// [fault.Invalid] for the empty key.
func (b *Budget) Spend(key Key, value []byte) error {
	switch {
	case len(key) == 0:
		return fault.New(fault.Invalid, "storage key is empty")
	case len(key) > MaxKey:
		return fault.Newf(fault.TooLarge, "storage key has %d bytes; at most %d are allowed", len(key), MaxKey)
	case len(value) > MaxValue:
		return fault.Newf(fault.TooLarge, "value has %d bytes; at most %d are allowed", len(value), MaxValue)
	case b.spent+len(key)+len(value) > MaxTxn:
		return fault.Newf(fault.TooLarge, "transaction writes more than %d bytes", MaxTxn)
	}
	b.spent += len(key) + len(value)
	return nil
}
