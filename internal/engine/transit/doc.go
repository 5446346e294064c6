// Package transit is the transit secrets engine: encryption, signatures and
// message authentication by keys that never leave the server, for data that is
// never stored there. The cryptography is in package material; this package is
// names, versions, rows and requests.
//
// # Rows
//
//	1 key       name                      settings of a key, see [keyRow]
//	2 version   key id, version number    one version's key, see [versionRow]
//	3 wrapping                            the RSA key that imports are wrapped with
//	4 settings                            the mount's settings
//
// A version is a row of its own: rotation writes two small rows however many
// versions there are, and reading a key loads the versions that are asked for.
// Versions hang on the key's id, a random UUID, and not on its name, so that a
// key that was deleted and made again never meets its old versions.
//
// # Cache
//
// A key that was used is kept parsed in memory. The store's change feed drops it
// when the row of the key changes, and every change of a version rewrites the
// row of its key, so there is no time to live and nothing stale.
//
// # Texts
//
// Ciphertexts, signatures and HMACs are "vault:v", the decimal number of the
// key's version, ":", and base64: standard with padding, but URL-safe without
// for signatures marshaled for JWS. What the base64 holds is in the
// documentation of package material.
package transit
