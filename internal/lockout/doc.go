// Package lockout is the noun behind sys/locked-users: it counts failed logins
// and, after too many of them, refuses further ones for a while.
//
// What is counted is an alias at a mount: the canonical name that the auth
// method gives for a login before it judges it, so that no spelling of a name
// gets tries of its own. Names that belong to nobody are counted like the
// others; else a lock would tell which users exist.
//
// # A try
//
// [Store.Begin] admits a login, or refuses it with the same answer whatever the
// password. An admitted try ends as [Try.Failed], as [Try.Succeeded], or
// without a verdict ([Try.Done]). Never are more tries of an alias under way
// than it has failures left: one too many waits for the verdict of another, so
// that logins sent all at once get no more tries than logins sent in turn.
//
// A login of an alias without failures costs two reads and no write.
//
// # Rows
//
// Failures are stored, so a restart or another leader forgets none. The entries
// of a mount are spread over a fixed number of rows, its buckets, by a keyed
// hash of the alias, and a bucket holds a fixed number of entries:
//
//	(namespace, system, KindLockout, "")               the key of the hash
//	(namespace, system, KindLockout, accessor, bucket) entries
//
// An entry that counts no more is dropped when its bucket is next written; a
// full bucket drops the entry with the fewest failures, the oldest of those. So
// a flood of invented names cannot make storage grow, and, not knowing the key,
// cannot choose whose entry it drives out.
package lockout
