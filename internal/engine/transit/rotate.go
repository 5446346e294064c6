package transit

import (
	"context"
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

func (e *Engine) rotateKey(ctx context.Context, c *route.Call, in nameRequest) (*keyAnswer, error) {
	if err := e.rotate(ctx, in.Name, c.Now, func(*keyRow) bool { return true }); err != nil {
		return nil, err
	}
	return e.show(ctx, in.Name)
}

// mayRotate refuses to make a version of a key whose owner brings them.
func (r *keyRow) mayRotate() error {
	if r.WasImported && !r.AllowRotation {
		return fault.New(fault.Invalid, "the key was imported without allow_rotation: add versions with keys/<name>/import_version")
	}
	return nil
}

// rotate makes a new version if due says so of the key's row, which may have
// changed since the caller has looked.
func (e *Engine) rotate(ctx context.Context, name string, now time.Time, due func(*keyRow) bool) error {
	var seen keyRow
	err := e.view(ctx, func(r store.Reader) (err error) {
		seen, err = e.row(r, name)
		return err
	})
	if err != nil {
		return err
	}
	check := func(row *keyRow) error {
		if row.SoftDeleted {
			return errSoft
		}
		return row.mayRotate()
	}
	if err := check(&seen); err != nil {
		return err
	}
	t, err := seen.typ()
	if err != nil {
		return err
	}
	k, err := material.Generate(t, seen.Size, e.host.Rand)
	if err != nil {
		return err
	}
	v, err := e.newVersion(k, now)
	if err != nil {
		return err
	}
	return e.change(ctx, name, func(tx store.Txn, row *keyRow) error {
		if row.ID != seen.ID {
			return fault.New(fault.Conflict, "the key was replaced meanwhile; try again")
		}
		if err := check(row); err != nil {
			return err
		}
		if !due(row) {
			return nil
		}
		row.Imported = false
		return e.append(tx, row, v)
	})
}

// rotateDue is called by the key's timer. Saving the key schedules the next.
func (e *Engine) rotateDue(ctx context.Context, name string) error {
	now := e.host.Clock.Now()
	due := func(row *keyRow) bool {
		return row.AutoRotate > 0 && !row.Rotated.Add(row.AutoRotate.D()).After(now)
	}
	err := e.rotate(ctx, name, now, due)
	switch {
	case errors.Is(err, errNoKey):
		return nil
	case errors.Is(err, errSoft):
		return e.postpone(ctx, name, now)
	}
	return err
}

// postpone looks again after a period of a softly deleted key: it may have been
// restored by then.
func (e *Engine) postpone(ctx context.Context, name string, now time.Time) error {
	err := e.update(ctx, func(tx store.Txn) error {
		row, err := e.row(tx, name)
		if err != nil || row.AutoRotate <= 0 {
			return err
		}
		return e.host.Timers.Schedule(tx, timerRotate+name, now.Add(row.AutoRotate.D()))
	})
	if errors.Is(err, errNoKey) {
		return nil
	}
	return err
}
