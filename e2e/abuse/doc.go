// Package abuse holds the tests that attack a whole server the way published
// advisories and field reports describe: one test per known root cause, run
// over every endpoint, type and spelling that it could concern, not only over
// the one it was found in.
//
// The names of tests begin with the row of the catalogue they belong to: A is
// policies and paths, B tenancy, C tokens and leases, D identity and lockout,
// G audit and logs, H HTTP and denial of service, I storage and seal, T the
// threat model, S the failures seen in production.
//
// Sweeps are made from the route tables, so a new endpoint is attacked without
// a line here. One golden file pins the endpoints that need no token.
package abuse
