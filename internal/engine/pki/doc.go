// Package pki is the secrets engine that is a certificate authority (RFC 5280).
//
// A mount has issuers: CA certificates, most with a private key, chained to
// each other as far as their certificates are here. Roles say what
// certificates may say; package profile makes the template of a certificate
// from a role and a request, package keypair makes and encodes keys. Here are
// storage, signing, revocation, OCSP, the inventory, and ACME's endpoints,
// whose protocol is package acme's.
//
// # What is in memory
//
// Parsed issuers and keys with the mount's settings (an [authority]), roles, and
// the encoded entries of revocation lists. All are views of rows, dropped or
// completed by the change feed, so every node has the same.
//
// # Revocation lists
//
// A revocation is a row, and costs that row. A list is signed when somebody asks
// for it and what is at hand is not current: entries are encoded once, so a
// list of a hundred thousand is a copy, a hash and a signature. When a list
// begins, and its number, follow from rows and settings alone. No list is
// stored.
//
// # Rows
//
// All but the index rows are JSON, sealed by the barrier under the engine:
//
//	kind  1 (id)                  private key (PKCS #8)
//	kind  2 (id)                  issuer: certificate and settings
//	kind  3 (name)                role
//	kind  4 (name)                settings: issuers, keys, urls, cluster, crl, tidy, acme
//	kind  5 (serial)              certificate, role, who asked
//	kind  6 (issuer id, serial)   revocation
//	kind  7 (end, serial)         index by end: issuer and role
//	kind  8 (name, serial)        index by name, labels backwards ("org.example.www")
//	kind  9 ()                    where tidying stands
//	kind 10 (table, ...)          ACME: accounts, orders, authorisations, keys of external accounts
package pki
