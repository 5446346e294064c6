// Package gate is the one pipeline that every request goes through.
//
// A request is matched to one endpoint under one canonical name; the name is
// what policies, audit, storage and the handler see. Then, in order: the rate
// limits are asked, before anything is read; the token is authenticated, its
// policies are asked, the request is written to the audit devices, the handler
// runs, what it grants is registered in the transaction in which it is stored,
// the answer is written to the audit devices and goes back to package httpd. A
// login is the same with another authenticator; a denial and a panic are
// audited too.
//
// The request's record is on a device before the handler of anything that has
// an effect runs. The record of a pure read goes beside it, and both are
// waited for before the answer leaves: they usually share one write.
//
// A [Gate] exists while the server is unsealed: no gate is "sealed". It is built
// whole, published at once and closed whole.
package gate
