// Package mount is the noun behind sys/mounts and sys/auth: which engine or
// method stands at which path, with which settings.
//
// A mount is a row under its namespace and the segments of its path, so that two
// mounts at one path, or one inside another, exclude each other within a
// transaction. What it stores is under its id, so moving a mount moves no data.
//
// The [Table] is a view of those rows kept right by the change feed. It makes
// the instance of a mount on its first use; a thousand idle mounts cost a
// thousand small structs. Route tables belong to types, not to mounts.
package mount
