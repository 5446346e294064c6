package database

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// Driver knows one kind of database.
type Driver struct {
	// Names select the driver as plugin_name; the first is the proper one.
	Names []string
	// MaxUsername is the longest user name, in bytes, that the database keeps
	// apart from others.
	MaxUsername int
	// Open makes a connection from its settings. It checks them
	// ([fault.Invalid], with a text that repeats no value) and does no I/O.
	Open func(Details) (Connection, error)
	// Check refuses, with [fault.Invalid], statements that could never run.
	Check func(statements []string) error
}

// Connection is an open way to one database. It connects when it is first
// needed and again after the database was away. All methods may be called
// concurrently and return promptly when the database is not there.
//
// Errors are of kind [fault.Upstream] and safe for clients: neither the text
// nor the chain holds a password or a connection URL. They are
// [ErrUnreachable] if nothing was sent, [ErrUncertain] if a change may or may
// not have taken effect, [ErrCredentials] if the database refused the
// connection's own credentials. Any other error means that the database
// refused and nothing has changed.
type Connection interface {
	// Verify connects and logs in.
	Verify(ctx context.Context) error
	// Create makes a user. All of its statements take effect or none.
	Create(ctx context.Context, u User, statements []string) error
	// SetPassword changes a user's password, with the driver's own statement
	// if there are none.
	SetPassword(ctx context.Context, u User, statements []string) error
	// Extend moves a user's expiry, with the driver's own statement if there
	// are none.
	Extend(ctx context.Context, u User, statements []string) error
	// Drop removes a user, in the driver's own way if the statements do
	// nothing (are empty or only comments). A user who is not there is no
	// error.
	Drop(ctx context.Context, username string, statements []string) error
	// Close lets go. Calls that are running may fail.
	Close()
}

// User is what statements are about.
type User struct {
	Name       string
	Password   wire.Secret
	Expiration time.Time
}

// Facts about an error of a [Connection].
var (
	ErrUnreachable = errors.New("database cannot be reached")
	ErrUncertain   = errors.New("outcome is not known")
	ErrCredentials = errors.New("database refused the connection's credentials")
)

// Details are the settings of a connection as they were given, those that mean
// something to the driver alone. They hold a password.
type Details map[string]json.RawMessage

// Text returns a setting as a string, "" if it is absent.
func (d Details) Text(name string) (string, error) {
	return detail(d, name, wire.ParseString)
}

// Int returns a setting as a whole number, zero if it is absent.
func (d Details) Int(name string) (int64, error) { return detail(d, name, wire.ParseInt) }

// Bool returns a setting as a boolean, false if it is absent.
func (d Details) Bool(name string) (bool, error) { return detail(d, name, wire.ParseBool) }

// Duration returns a setting as a duration, zero if it is absent.
func (d Details) Duration(name string) (time.Duration, error) {
	return detail(d, name, wire.ParseDuration)
}

func detail[T any](d Details, name string, parse func([]byte) (T, error)) (T, error) {
	v, err := parse(d[name])
	if err != nil {
		return v, fault.Newf(fault.Invalid, "field %q: %s", name, err)
	}
	return v, nil
}

// with returns a copy in which a setting has been replaced.
func (d Details) with(name, value string) Details {
	changed := make(Details, len(d)+1)
	for k, v := range d {
		changed[k] = v
	}
	changed[name] = wire.AppendQuoted(nil, value)
	return changed
}
