// Package totp is the TOTP secrets engine: one-time codes by time (RFC 6238). As
// a generator it keeps the secrets of accounts elsewhere and answers their
// present codes; as a provider it makes secrets for the user's own device and
// checks the codes from there.
//
// # Rows
//
//	1 key   name   the settings and the secret, see [keyRow]
//	2 used  name   the time steps whose codes were accepted and could be again
//
// A code that was accepted is refused for as long as its time step is within
// the window. The row of used steps has at most as many as the window, and is
// written in the transaction that accepts the code, so that two nodes or two
// requests at once never accept the same one.
package totp
