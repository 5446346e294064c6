// Package token is the noun behind auth/token/: what a client presents with
// every request.
//
// A service token is a row under the keyed hash of its text; the text itself is
// stored nowhere. With it go, in the same transaction, a row from its accessor,
// one under its parent, and its entry in the expiry index. A batch token is no
// row at all: it is its own record, sealed.
//
// Texts look like "cfs.<43 random><6 checksum>" (service) and "cfb.<sealed>"
// (batch): a scanner can recognise a leaked one, and a mistyped one is refused
// without a look into the store. Root and sudo callers may choose other texts.
//
// Revoking a token revokes its tree and ends its leases. What fits is one
// transaction; a larger tree is first marked at its root, which makes it
// useless at once, and then taken down in parts, by the expiry index if the
// server stops meanwhile.
package token
