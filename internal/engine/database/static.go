package database

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// staticRole is the row of a role that owns an existing user.
type staticRole struct {
	Connection       string
	Username         string
	Period           wire.Duration     `json:",omitempty"`
	Schedule         string            `json:",omitempty"`
	Window           wire.Duration     `json:",omitempty"`
	Rotation         Statements        `json:",omitempty"`
	CredentialConfig map[string]string `json:",omitempty"`
	SkipImport       bool              `json:",omitempty"`

	// Password is what the database has. While Pending is set a change to it
	// is under way and may have happened.
	Password     string
	Pending      string `json:",omitempty"`
	LastRotation time.Time
	NextRotation time.Time
}

const (
	minPeriod = 5 * time.Second
	minWindow = time.Hour
)

// next is when the password is to be changed after the given time.
func (s *staticRole) next(after time.Time) (time.Time, error) {
	if s.Schedule == "" {
		return after.Add(s.Period.D()), nil
	}
	schedule, err := parseSchedule(s.Schedule)
	if err != nil {
		return time.Time{}, err
	}
	return schedule.Next(after.UTC()), nil
}

// parseSchedule reads a cron schedule of five fields, in UTC.
func parseSchedule(text string) (cron.Schedule, error) {
	const format = "five fields (minute, hour, day of month, month, day of week)"
	if len(strings.Fields(text)) != 5 || strings.Contains(text, "TZ=") {
		return nil, fault.Newf(fault.Invalid, "field %q: must be a cron schedule of %s", "rotation_schedule", format)
	}
	schedule, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(text)
	if err != nil {
		return nil, fault.Newf(fault.Invalid, "field %q: must be a cron schedule of %s: %s", "rotation_schedule", format, err)
	}
	return schedule, nil
}

func (e *Engine) listStaticRoles(ctx context.Context, _ *route.Call, _ listRequest) (route.Keys, error) {
	return e.names(ctx, kindStaticRole)
}

func (e *Engine) staticRoleExists(ctx context.Context, _ *route.Call, in writeStaticRoleRequest) (bool, error) {
	return e.exists(ctx, kindStaticRole, in.Name)
}

func (e *Engine) readStaticRole(ctx context.Context, _ *route.Call, in nameRequest) (staticRoleResponse, error) {
	s, err := readRow[staticRole](ctx, e, kindStaticRole, in.Name, "")
	if err != nil {
		return staticRoleResponse{}, err
	}
	return staticRoleResponse{
		CredentialConfig: s.CredentialConfig, CredentialType: typePassword, Connection: s.Connection, LastRotation: s.LastRotation,
		Period: s.Period, Schedule: s.Schedule, Window: s.Window, Rotation: s.Rotation, SkipImport: s.SkipImport, Username: s.Username,
	}, nil
}

func (e *Engine) readStaticCredentials(ctx context.Context, c *route.Call, in nameRequest) (staticCredentialsResponse, error) {
	var s staticRole
	var conn connection
	err := e.view(ctx, func(r store.Reader) (err error) {
		if s, err = load[staticRole](e, r, kindStaticRole, in.Name, unknownRole(in.Name)); err != nil {
			return err
		}
		conn, err = load[connection](e, r, kindConnection, s.Connection, noConnection(s.Connection))
		return err
	})
	if err == nil {
		err = e.mustAllow(conn, in.Name)
	}
	if err != nil {
		return staticCredentialsResponse{}, err
	}
	if s.Password == "" {
		c.Warn("The password is not known here: the role was created with skip_import_rotation and has not been rotated yet.")
	}
	return staticCredentialsResponse{
		LastRotation: s.LastRotation, Password: s.Password, Period: s.Period, Schedule: s.Schedule, Window: s.Window,
		TTL: wire.Duration(max(0, s.NextRotation.Sub(e.host.Clock.Now()))), Username: s.Username,
	}, nil
}

func (e *Engine) writeStaticRole(ctx context.Context, _ *route.Call, in writeStaticRoleRequest) (route.None, error) {
	unlock, err := e.changing.lock(ctx, timerRotate+in.Name)
	if err != nil {
		return route.None{}, err
	}
	defer unlock()
	if err := e.checkCredential(ctx, in.CredentialType, in.CredentialConfig); err != nil {
		return route.None{}, err
	}
	var created bool
	err = e.update(ctx, func(tx store.Txn) (err error) {
		created, err = e.putStaticRole(tx, in)
		return err
	})
	if err != nil || !created || in.SkipImport.Value {
		return route.None{}, err
	}
	err = e.rotateLocked(ctx, in.Name)
	if err != nil && !errors.Is(err, ErrUncertain) {
		// Nothing has changed in the database, so nothing may stay here.
		err = errors.Join(err, e.removeStaticRole(context.WithoutCancel(ctx), in.Name))
	}
	return route.None{}, err
}

// putStaticRole stores what the request makes of the role and sets its timer.
func (e *Engine) putStaticRole(tx store.Txn, in writeStaticRoleRequest) (created bool, err error) {
	s, err := store.GetJSON[staticRole](tx, e.key(kindStaticRole, in.Name))
	if created = errors.Is(err, store.ErrNotFound); err != nil && !created {
		return false, err
	}
	before := s
	if err := in.apply(&s, created); err != nil {
		return created, err
	}
	if err := e.checkStaticRole(tx, in.Name, s); err != nil {
		return created, err
	}
	now := e.host.Clock.Now()
	if created || s.Schedule != before.Schedule || s.Period != before.Period {
		from := s.LastRotation
		if from.IsZero() || s.Schedule != "" {
			from = now
		}
		if s.NextRotation, err = s.next(from); err != nil {
			return created, err
		}
		if s.NextRotation.IsZero() {
			return created, fault.Newf(fault.Invalid, "field %q: there is no such date", "rotation_schedule")
		}
		if s.Pending == "" {
			if err := e.host.Timers.Schedule(tx, timerRotate+in.Name, s.NextRotation); err != nil {
				return created, err
			}
		}
	}
	return created, store.PutJSON(tx, e.key(kindStaticRole, in.Name), s)
}

// apply changes the row by what the request mentions.
func (in *writeStaticRoleRequest) apply(s *staticRole, created bool) error {
	if !created && in.Username.Set && in.Username.Value != s.Username {
		return fault.New(fault.Invalid, "the username of a static role cannot be changed; delete the role and create another")
	}
	if in.Period.Set && in.Schedule.Set {
		return fault.New(fault.Invalid, "rotation_period and rotation_schedule exclude each other")
	}
	in.Connection.Into(&s.Connection)
	in.Username.Into(&s.Username)
	in.Rotation.Into(&s.Rotation)
	in.CredentialConfig.Into(&s.CredentialConfig)
	if in.Period.Set {
		s.Period, s.Schedule, s.Window = in.Period.Value, "", 0
	}
	if in.Schedule.Set {
		s.Schedule, s.Period = in.Schedule.Value, 0
	}
	in.Window.Into(&s.Window)
	if created {
		in.SkipImport.Into(&s.SkipImport)
		if s.SkipImport {
			s.Password = in.Password.Reveal()
		}
	}
	if !s.SkipImport && in.Password != "" {
		return fault.New(fault.Invalid, "password is only taken when a role is created with skip_import_rotation")
	}
	return nil
}

func (e *Engine) checkStaticRole(r store.Reader, name string, s staticRole) error {
	switch {
	case s.Connection == "":
		return fault.New(fault.Invalid, "db_name is required: the connection that changes the password")
	case s.Username == "":
		return fault.New(fault.Invalid, "username is required: the existing user that the role owns")
	case s.Username != printable(s.Username):
		return fault.New(fault.Invalid, `field "username": must not have control characters`)
	case s.Schedule == "" && s.Period == 0:
		return fault.New(fault.Invalid, "one of rotation_period and rotation_schedule is required")
	case s.Schedule == "" && s.Period.D() < minPeriod:
		return fault.Newf(fault.Invalid, "field %q: must be at least %s", "rotation_period", minPeriod)
	case s.Schedule == "" && s.Window != 0:
		return fault.New(fault.Invalid, "rotation_window goes with rotation_schedule only")
	case s.Window != 0 && s.Window.D() < minWindow:
		return fault.Newf(fault.Invalid, "field %q: must be at least %s", "rotation_window", minWindow)
	}
	if err := e.nameIsFree(r, kindRole, name); err != nil {
		return err
	}
	c, err := load[connection](e, r, kindConnection, s.Connection, noConnection(s.Connection))
	if err != nil {
		return err
	}
	if err := e.mustAllow(c, name); err != nil {
		return err
	}
	if own, _ := c.Details.Text("username"); own == s.Username {
		return fault.New(fault.Invalid, "this is the connection's own user; its password is changed by rotate-root")
	}
	return e.checkStatements(r, s.Connection, s.Rotation)
}

func (e *Engine) deleteStaticRole(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	unlock, err := e.changing.lock(ctx, timerRotate+in.Name)
	if err != nil {
		return route.None{}, err
	}
	defer unlock()
	return route.None{}, e.removeStaticRole(ctx, in.Name)
}

func (e *Engine) removeStaticRole(ctx context.Context, name string) error {
	return e.update(ctx, func(tx store.Txn) error {
		if err := tx.Delete(e.key(kindStaticRole, name)); err != nil {
			return err
		}
		return e.host.Timers.Cancel(tx, timerRotate+name)
	})
}
