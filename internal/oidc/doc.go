// Package oidc lets other software trust Coffer's identities: it signs identity
// tokens (identity/oidc/token), and it is an OpenID provider to applications
// (identity/oidc/provider).
//
// Standards: OpenID Connect Core 1.0 and Discovery 1.0, RFC 6749 (OAuth 2.0),
// RFC 7636 (PKCE), RFC 7517 (JWK), RFC 9068 (access tokens as JWT).
//
// # Keys
//
// A named key is a signing key that rotates. Two pairs exist at any time: the
// one that signs, and the one that will next, which is published already, so that
// a verifier who keeps what it once fetched knows it before the first signature.
// A key rotates with the first signature after its period: what signs nothing
// needs no rotation, and no task has to run. Public halves stay published for the
// verification time, a row each.
//
// # Codes and access tokens
//
// An authorisation code is a row under its digest, and is taken out in the
// transaction that answers for it, so that no two requests redeem the same one,
// on any node. An access token is a signed JWT of a type of its own: nothing is
// stored, an identity token is not accepted in its place, and it is good for
// userinfo alone, never for the API.
package oidc
