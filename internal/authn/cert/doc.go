// Package cert is the auth method for whoever holds a TLS client certificate.
//
// The listener asks for a certificate and sees that the client has its key; it
// trusts none. This package decides, on the certificates of the client's own
// connection:
//
//   - A role's trusted certificate that is a certificate authority must be the
//     root of a chain from the client's certificate (RFC 5280, section 6), which
//     must be one for clients.
//   - One that is not is pinned: the client must present the very same bytes.
//     Names and serial numbers are what whoever makes a certificate writes into
//     it, so they identify nothing.
//
// Then the certificate must have what the role allows and requires ([constraints]),
// and must not be revoked: not by a list of the mount ([revocations]), nor by an
// OCSP responder if the role asks one ([responders]).
//
// A token is bound to the certificate that it was granted for: its renewal needs
// the same one, which must still pass.
//
// # Rows
//
//	(1)        the configuration
//	(2, name)  a role
//	(3, name)  what is known of a revocation list
//	(4, name)  the list itself, in DER
//
// A list that comes from a URL has a timer, named as the list, that fetches the
// next one.
package cert
