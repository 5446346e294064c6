package expiry

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/store"
)

// timerRow is what a mount's timer is set to. The mark tells this setting from
// earlier ones of the same name, whose items may still be in the index.
type timerRow struct {
	At   time.Time `json:"at"`
	Mark string    `json:"mark"`
}

func timerKey(mount store.MountID, name string) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindTimer, store.Uint64Part(uint64(mount)), name)
}

func timerItem(mount store.MountID, name string, row timerRow) Item {
	return Item{Queue: mount, Class: Timer, ID: row.Mark + "/" + name, At: row.At}
}

// SetTimer sets a mount's timer, replacing an earlier one of the name.
func SetTimer(tx store.Txn, mount store.MountID, name string, at time.Time) error {
	if err := CancelTimer(tx, mount, name); err != nil {
		return err
	}
	row := timerRow{At: at, Mark: rand.Text()[:13]}
	if err := store.PutJSON(tx, timerKey(mount, name), row); err != nil {
		return err
	}
	return Put(tx, timerItem(mount, name, row))
}

// CancelTimer removes a mount's timer; an absent one is no error.
func CancelTimer(tx store.Txn, mount store.MountID, name string) error {
	row, err := store.GetJSON[timerRow](tx, timerKey(mount, name))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := tx.Delete(timerKey(mount, name)); err != nil {
		return err
	}
	return Remove(tx, timerItem(mount, name, row))
}

// DropTimers removes all timers of a mount that is going away, at most limit,
// and reports whether there are more.
func DropTimers(tx store.Txn, mount store.MountID, limit int) (more bool, err error) {
	names, err := store.Children(tx, store.NewKey(store.RootNamespace, store.System, store.KindTimer, store.Uint64Part(uint64(mount))), "", limit)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if err := CancelTimer(tx, mount, name); err != nil {
			return false, err
		}
	}
	return len(names) == limit, nil
}

// TimerFunc calls the instance of a mount.
type TimerFunc func(ctx context.Context, mount store.MountID, name string) error

// TimerHandler handles items of class [Timer].
func TimerHandler(s store.Store, fire TimerFunc) Handler { return timerHandler{s, fire} }

type timerHandler struct {
	store store.Store
	fire  TimerFunc
}

// Expire fires a timer. The timer stays until the instance has succeeded, and
// if the instance sets it anew meanwhile, the new setting stays.
func (h timerHandler) Expire(ctx context.Context, it Item) error {
	mark, name, _ := strings.Cut(it.ID, "/")
	live, err := h.live(ctx, it, name, mark)
	if err != nil {
		return err
	}
	if live {
		if err := h.call(ctx, it.Queue, name); err != nil {
			return err
		}
	}
	_, err = h.store.Update(ctx, func(tx store.Txn) error {
		row, err := store.GetJSON[timerRow](tx, timerKey(it.Queue, name))
		if err == nil && row.Mark == mark {
			err = tx.Delete(timerKey(it.Queue, name))
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return Remove(tx, it)
	})
	return err
}

// fireLimit bounds one call of an instance, so that one that hangs does not
// hold up its mount's queue for ever.
const fireLimit = 10 * time.Minute

func (h timerHandler) call(ctx context.Context, mount store.MountID, name string) error {
	ctx, cancel := context.WithTimeout(ctx, fireLimit)
	defer cancel()
	return h.fire(ctx, mount, name)
}

func (h timerHandler) live(ctx context.Context, it Item, name, mark string) (bool, error) {
	var row timerRow
	err := h.store.View(ctx, func(r store.Reader) error {
		var err error
		row, err = store.GetJSON[timerRow](r, timerKey(it.Queue, name))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return row.Mark == mark, err
}
