// Package port is the cluster port: one listener for everything that nodes say
// to each other, and the way to other nodes' ports.
//
// Both sides of a connection show a certificate that the cluster's authority has
// issued, over TLS 1.3. A certificate names one node; who dials says which node
// it wants, and hangs up on any other, so that an address that was given to
// another machine cannot make one node's words count for another's. What a
// connection is for is agreed by ALPN: each [Protocol] has a listener of its own.
//
// # Keys
//
//	<data>/tls/node.key   the node's private key, made at its first start
//	<data>/tls/node.pem   its certificate
//	<data>/tls/ca.pem     the authorities it trusts
//
// They are files (0600), not rows of the store, because a node takes part in the
// cluster before it is unsealed. The authority's own key is a sealed row: only an
// unsealed leader issues certificates.
//
// Certificates are renewed every month. What ends a node's membership is that the
// others no longer list it, or know it by another key, which they ask at every
// connection ([Config.Admit]). That a certificate has expired, or is not valid yet,
// locks nobody out: clocks jump, and nodes are switched off for a year.
package port
