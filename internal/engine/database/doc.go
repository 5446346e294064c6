// Package database is the secrets engine that hands out database users.
//
// A connection (config/) says how to reach a database and which roles may use
// it. A role makes a new user for each request (creds/), under a lease; a
// static role owns an existing user and changes its password on a schedule
// (static-creds/).
//
// What speaks to a kind of database is a [Driver]; they are given to [Type] as
// a list. The engine knows no SQL.
//
// # Nothing outside without a record
//
// Whatever is made or changed in a database has a row here first:
//
//   - Before a user is created, an intent with its name is stored and a timer
//     set. The lease's transaction removes both. If that transaction never
//     comes (a crash, a lost leader, an unknown outcome), the timer drops the
//     user.
//   - Before a password is changed, the new one is stored as pending beside
//     the old one. Once the change is known it takes the old one's place;
//     after a crash a static role's change is applied again (it is
//     idempotent), and for a root credential both passwords are tried.
//
// An error that says the database refused clears the record; an error with an
// unknown outcome ([ErrUncertain]) leaves it for the timer.
//
// # State
//
// Rows are the truth. The only state in memory is open connections, and each is
// used only as long as the stored connection has the version it was opened
// for, so a change made through another node or a restored snapshot counts at
// once. Connections of one name share nothing with those of another: a dead
// database delays only itself.
//
// # Rows
//
// All rows are JSON, sealed by the barrier under the engine:
//
//	kind 1 (name)      connection: driver, details, allowed roles, pending root password
//	kind 2 (name)      role: statements, TTLs
//	kind 3 (name)      static role: user, schedule, current and pending password
//	kind 4 (id)        intent: connection, user and revocation statements of a user being made
//
// Timers are called "intent/<id>", "rotate/<static role>" and
// "root/<connection>".
package database
