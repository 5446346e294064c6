package mount

import (
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/store"
)

// timers ties the expiry index's timers to a mount.
type timers struct{ id store.MountID }

var _ engine.Timers = timers{}

// Schedule sets the mount's timer in the engine's transaction.
func (t timers) Schedule(tx store.Txn, name string, at time.Time) error {
	return expiry.SetTimer(engine.Unconfine(tx), t.id, name, at)
}

// Cancel removes the mount's timer in the engine's transaction.
func (t timers) Cancel(tx store.Txn, name string) error {
	return expiry.CancelTimer(engine.Unconfine(tx), t.id, name)
}
