// Package pgtest runs real PostgreSQL servers for tests: a child process on a
// free loopback port, with data of its own, gone when the test ends. It installs
// nothing: without PostgreSQL's binaries the test fails and says what to
// install. Tests may run as root (the server then runs as user postgres, since
// it refuses to be root) or as an ordinary user.
//
// A fresh data directory costs a second of initdb, so one is made per machine
// and PostgreSQL version, kept in the temporary directory, and copied for each
// server.
package pgtest
