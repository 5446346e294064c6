// Package config turns configuration files, environment variables and the
// flags of the development server into one typed [Config].
//
// Files are HCL or JSON, decided by content. Both are read into the same small
// tree of positioned values, which hand-written tables of known keys then copy
// into typed structs. The rules are strict where silence would hurt:
//
//   - an unknown key is an error that names the nearest known one;
//   - a key set twice in one block is an error;
//   - a key that HashiCorp Vault or OpenBao knows and Coffer does not need
//     is accepted and reported in [Config.Notes];
//   - every problem of every file is reported at once, as file:line:column.
//
// Several files merge in the order given: a later scalar replaces an earlier
// one (with a note), listeners, seals and audit devices accumulate, and a
// second storage block is an error.
//
// Any string may be written as env://NAME or file://PATH, which keeps
// credentials out of the file. Values obtained this way never appear in an
// error, a note, [Config.Sanitized] or a [Report].
//
// Loading reads files and nothing else. [Config.Validate] checks the rules
// that span keys without touching the system, and [Diagnose] asks the system
// itself: ports, certificates, directories, limits.
package config
