// Package ldap is the auth method for people whom a directory knows: a user name
// and a password, which the directory judges (a simple bind, RFC 4513, section
// 5.1.3).
//
// # Names
//
// [CanonicalName] is the one rule for names of users. The alias, the lockout
// counter, the name that is searched for and the row of the user's own mappings
// all use its result. A directory takes more spellings for the same than bytes
// do (RFC 4518); the rule folds what it folds, and refuses what it would drop.
// In search mode the entry that was found must bear that name in its userattr,
// unless username_as_alias says that it need not.
//
// # A login
//
// The user's entry is found by a search, as the service account or as nobody, or
// its name is made up from the user's. A bind with the password then decides. An
// empty password, which directories take for "nobody in particular", is refused
// before, whatever the settings. Who is not found is bound as well, under a name
// that no entry has, so that the directory is asked as often; the text is the same
// too. Every value that becomes part of a filter or of a name is escaped for just
// that (RFC 4515, RFC 4514).
//
// Passwords of users are never stored. A renewal looks the user up as the service
// account; without one it goes by the groups of the login.
//
// # Rows
//
//	(1)        the configuration
//	(2, name)  policies of a group of the directory
//	(3, name)  policies and further groups of a user
package ldap
