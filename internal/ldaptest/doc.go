// Package ldaptest runs a real OpenLDAP server (Debian's slapd) for tests: on a
// loopback port, with TLS, and with a small directory in it.
//
//	dc=example,dc=org
//	├── ou=users    uid=alice (alicepw), uid=bob (bobpw), inetOrgPerson
//	└── ou=groups   cn=engineers with alice, groupOfNames
//
// The class principal adds userPrincipalName and sAMAccountName, as Active Directory
// has them.
//
// The directory's owner is [BindDN]. cn=svc (svcpw) is an account for services,
// which may read and may change its own password.
package ldaptest
