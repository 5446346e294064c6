// Package ssh is the SSH secrets engine: a certificate authority for users and
// hosts of OpenSSH, and one-time passwords for hosts that cannot use
// certificates.
//
// A mount has any number of issuers (CA key pairs), one of which is the
// default, and roles. A role of type "ca" signs certificates within its bounds
// (PROTOCOL.certkeys of OpenSSH); one of type "otp" makes passwords that a
// host's PAM module checks, once, through the verify endpoint.
//
// # Rows
//
//	1 issuer      issuer id              a key pair, see [issuerRow]
//	2 name        issuer name            the id of the issuer of that name
//	3 default                            the id of the default issuer
//	4 role        role name              see [roleRow]
//	5 otp         SHA-256 of a password  whom and where it is for
//	6 zeroaddress                        roles that are not bound to addresses
//
// A password is stored as its hash only. It is 122 random bits, so that the hash
// needs no salt.
package ssh
