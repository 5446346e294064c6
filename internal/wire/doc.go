// Package wire holds what Coffer reads from and writes to its clients at the
// level of values: a JSON reader with limits that never builds a tree, and the
// lenient types that Vault's clients rely on (a duration as "1h" or 3600, a
// list as "a,b" or ["a","b"], numbers and booleans as strings).
//
// Errors say which field is wrong and what it should be. They never repeat the
// value, because the value may be a secret.
package wire
