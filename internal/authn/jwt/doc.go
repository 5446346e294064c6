// Package jwt is the auth method for whoever holds a signed token of another
// system: a CI job, a workload of a cloud, or a person whom an OpenID Connect
// provider knows. It is mounted as "jwt" and as "oidc"; both do the same.
//
// # Keys
//
// A mount trusts one issuer, by one of four sources: public keys in its
// configuration, the URL of a key set (RFC 7517), several such URLs, or the
// issuer's discovery document (OpenID Connect Discovery 1.0). Documents are
// fetched when they are needed and kept for ten minutes. A key id that is not in
// the kept set causes a fetch at most every ten seconds, so forged tokens do not
// make Coffer ask the issuer once each. An issuer that cannot be reached leaves
// its last set in force for an hour. See [keySource].
//
// # What a token must be
//
// A compact JWS (RFC 7515) of an asymmetric algorithm, with a signature by one of
// these keys: keys and certificates that a token brings along or points to are
// never looked at. Claims are read by their exact names, and a token in which a
// name stands twice is refused. See [claims] and [role.check].
//
// # Flows of OpenID Connect
//
// Nothing is stored when a login begins: the state parameter is itself the
// record of it, sealed with a key of the mount, and holds the nonce, the PKCE
// verifier (RFC 7636) and what binds the flow to the client that began it. A
// state is good once and for five minutes; the mark that it was used is written
// in the transaction that stores the token. See [flow].
//
// # Rows
//
//	(1)              the configuration
//	(2, name)        a role
//	(3)              the key of states
//	(4, id)          the time of expiry of a used state
//	(5, time, id)    used states by the time they expire
package jwt
