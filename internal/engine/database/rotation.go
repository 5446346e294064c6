package database

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

func (e *Engine) rotateRole(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	unlock, err := e.changing.lock(ctx, timerRotate+in.Name)
	if err != nil {
		return route.None{}, err
	}
	defer unlock()
	return route.None{}, e.rotateLocked(ctx, in.Name)
}

// rotateDue is called by a static role's timer: its password is due, or a
// change of it was interrupted.
func (e *Engine) rotateDue(ctx context.Context, name string) error {
	unlock, err := e.changing.lock(ctx, timerRotate+name)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := readRow[staticRole](ctx, e, kindStaticRole, name, "")
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now := e.host.Clock.Now()
	missed := s.Window > 0 && now.After(s.NextRotation.Add(s.Window.D()))
	switch {
	case s.Pending != "":
	case missed:
		e.host.Log.Warn("the window for rotating a static role has passed; waiting for the next", slog.String("role", name))
		return e.postpone(ctx, name)
	case now.Before(s.NextRotation):
		// The timer was set early, for a change that has been settled since.
		return e.update(ctx, func(tx store.Txn) error { return e.host.Timers.Schedule(tx, timerRotate+name, s.NextRotation) })
	}
	return e.rotateLocked(ctx, name)
}

// postpone moves a rotation to the next time that the schedule names.
func (e *Engine) postpone(ctx context.Context, name string) error {
	return e.update(ctx, func(tx store.Txn) error {
		s, err := store.GetJSON[staticRole](tx, e.key(kindStaticRole, name))
		if err != nil {
			return err
		}
		if s.NextRotation, err = s.next(e.host.Clock.Now()); err != nil {
			return err
		}
		return e.putRotation(tx, name, s)
	})
}

// putRotation stores a role with its timer at the next rotation.
func (e *Engine) putRotation(tx store.Txn, name string, s staticRole) error {
	if err := store.PutJSON(tx, e.key(kindStaticRole, name), s); err != nil {
		return err
	}
	return e.host.Timers.Schedule(tx, timerRotate+name, s.NextRotation)
}

// rotateLocked changes a static role's password: it stores the new one as
// pending, sets it in the database, and makes it the role's password. Setting
// is idempotent, so an interrupted change is carried out again with the same
// password.
func (e *Engine) rotateLocked(ctx context.Context, name string) error {
	s, conn, err := e.beginRotation(ctx, name)
	if err != nil {
		return err
	}
	u := User{Name: s.Username, Password: wire.Secret(s.Pending)}
	err = e.use(ctx, s.Connection, conn, foreground, func(ctx context.Context, db Connection) error {
		return db.SetPassword(ctx, u, s.Rotation)
	})
	ctx = context.WithoutCancel(ctx) // what the database has must be recorded
	switch {
	case err == nil:
		return e.endRotation(ctx, name, s.Pending, true)
	case errors.Is(err, ErrUncertain) || errors.Is(err, ErrUnreachable):
		return fmt.Errorf("rotating static role %q: %w", name, err)
	}
	// The database refused this password or statement: the next attempt makes
	// a new one.
	return errors.Join(fmt.Errorf("rotating static role %q: %w", name, err), e.endRotation(ctx, name, s.Pending, false))
}

// beginRotation stores the new password as pending, unless an unfinished change
// has left one.
func (e *Engine) beginRotation(ctx context.Context, name string) (s staticRole, conn connection, err error) {
	err = e.view(ctx, func(r store.Reader) error {
		if s, err = load[staticRole](e, r, kindStaticRole, name, unknownRole(name)); err != nil {
			return err
		}
		conn, err = load[connection](e, r, kindConnection, s.Connection, noConnection(s.Connection))
		return err
	})
	if err == nil {
		err = e.mustAllow(conn, name)
	}
	if err != nil {
		return s, conn, err
	}
	if s.Pending == "" {
		if s.Pending, err = e.newPassword(ctx, s.CredentialConfig, conn); err != nil {
			return s, conn, err
		}
	}
	err = e.update(ctx, func(tx store.Txn) error {
		if err := store.PutJSON(tx, e.key(kindStaticRole, name), s); err != nil {
			return err
		}
		return e.host.Timers.Schedule(tx, timerRotate+name, e.host.Clock.Now().Add(resumeDelay))
	})
	return s, conn, err
}

// endRotation closes the change that pending stands for: the password has been
// changed, or it has not.
func (e *Engine) endRotation(ctx context.Context, name, pending string, changed bool) error {
	return e.update(ctx, func(tx store.Txn) error {
		s, err := store.GetJSON[staticRole](tx, e.key(kindStaticRole, name))
		if err != nil {
			return err
		}
		if s.Pending != pending {
			return nil // another node has finished it
		}
		s.Pending = ""
		if !changed {
			return store.PutJSON(tx, e.key(kindStaticRole, name), s)
		}
		now := e.host.Clock.Now()
		s.Password, s.LastRotation = pending, now
		if s.NextRotation, err = s.next(now); err != nil {
			return err
		}
		return e.putRotation(tx, name, s)
	})
}
