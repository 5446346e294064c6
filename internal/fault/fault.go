// Package fault is Coffer's one vocabulary of errors.
//
// An [Error] says what kind of thing went wrong ([Kind]), what the client may
// be told (Msg) and what only the log may know (Err). Everything between the
// store and the engines returns plain Go errors that wrap one of these; the
// one place that turns a kind into an HTTP status is package httpd. A plain
// error that wraps no [Error] is [Internal], and its text never reaches a
// client.
//
// Kinds are errors themselves, so a caller asks errors.Is(err, fault.NotFound)
// and never compares text.
package fault

import (
	"errors"
	"fmt"
)

// Kind classifies an error. New kinds are appended, never reordered.
type Kind uint8

const (
	// Internal is a defect or an unexpected failure of this server.
	Internal Kind = iota
	// Invalid is bad input; the message says how to mend it.
	Invalid
	// Denied is a refusal by policy, or by a missing or unusable token.
	Denied
	// NotFound is the absence of what was asked for.
	NotFound
	// Unsupported is an operation that the path does not have.
	Unsupported
	// Precondition is a state that the request's condition forbids.
	Precondition
	// TooLarge is input beyond a stated limit.
	TooLarge
	// RateLimited is a refusal by a quota.
	RateLimited
	// Unavailable is a passing inability: no quorum, audit device down.
	Unavailable
	// Sealed means the server cannot decrypt its data.
	Sealed
	// Standby means this node may not do it and the leader is not reachable.
	Standby
	// Upstream is a failure of an external system such as a database.
	Upstream
	// Unauthenticated is a login refused for its credentials where clients
	// expect 400 rather than 403 (Vault's login endpoints).
	Unauthenticated
	// Full means that storage has no room left.
	Full
	// Conflict is a lost race that was retried in vain.
	Conflict
	// MediaType is a body of a type that the endpoint does not take.
	MediaType
)

var kindNames = [...]string{"internal", "invalid", "denied", "not found", "unsupported", "precondition", "too large",
	"rate limited", "unavailable", "sealed", "standby", "upstream", "unauthenticated", "full", "conflict", "media type"}

// String returns the kind's name.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Error makes a Kind usable as the target of errors.Is.
func (k Kind) Error() string { return k.String() }

// Error is an error with a kind and a text that is safe for clients.
type Error struct {
	// Kind decides the status.
	Kind Kind
	// Msg is safe to show to the client: no secret, no internal address.
	// Empty means that the client gets the kind's empty error list.
	Msg string
	// Err is the cause, for the log only.
	Err error
}

// Error returns the text for logs: message and cause.
func (e *Error) Error() string {
	switch {
	case e.Err == nil && e.Msg == "":
		return e.Kind.String()
	case e.Err == nil:
		return e.Msg
	case e.Msg == "":
		return e.Err.Error()
	}
	return e.Msg + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is this error's kind.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// New returns an error of kind k with a client-safe text.
func New(k Kind, msg string) error { return &Error{Kind: k, Msg: msg} }

// Newf is New with formatting. Arguments become part of what the client
// sees; they must not be secrets.
func Newf(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Msg: fmt.Sprintf(format, args...)}
}

// Wrap returns an error of kind k that shows msg to the client and keeps err
// for the log.
func Wrap(k Kind, err error, msg string) error { return &Error{Kind: k, Msg: msg, Err: err} }

// KindOf returns the kind of the first [Error] in err's chain, else Internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	return Internal
}

// Message returns the client-safe text of err: that of the first [Error] in
// its chain, or "" for a plain error.
func Message(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Msg
	}
	return ""
}
