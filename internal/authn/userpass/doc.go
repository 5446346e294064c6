// Package userpass is the auth method for people: a user name and a password.
//
// # Names
//
// [CanonicalName] is the one rule for user names. A login folds the name it is
// given to lower case by it; the alias, the lockout counter and the stored row
// all use its result, so that no two spellings of a user are counted apart. The
// paths under users/ are subject to policies, which compare the path as it was
// sent: there a name that is not in its canonical form is refused instead of
// folded, else a rule for users/admin would not see users/ADMIN.
//
// # Passwords
//
// A password is kept as a bcrypt hash, made here or given ready-made. A login
// answers the same text with the same status, after the same work, whether the
// user exists or not: see [passwords]. bcrypt reads 72 bytes and takes a NUL
// for the end, so passwords that it would not tell apart are refused.
//
// # Rows
//
//	(1, name)  a user
//	(2)        the highest bcrypt cost in use at the mount
package userpass
