// Package lease is the noun behind sys/leases: everything an engine has granted
// and must undo.
//
// A lease is a row, one under its owner (the token it was granted to), and an
// item in the expiry index of its mount; all three are written in the
// transaction in which the engine stores what it granted, and nothing of it is
// kept in memory. Tokens that a path has granted have a row here too, so that
// listing and revoking by prefix cover both.
//
// A lease ends when its time is up, when it is revoked, or when its owner is.
// Ending is: mark it due now, let the engine undo the grant, and remove the
// rows. If the engine cannot (its database is down), the item stays in the
// index of that mount and is tried again for ever, without holding up others.
package lease
