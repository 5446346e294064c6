// Package membership is the noun of who belongs to the cluster: how a node joins,
// what it is trusted with, and how it is removed.
//
// # Joining
//
// A node that belongs to no cluster asks one that does, at its API address, for
// a challenge: a secret that is encrypted with the unseal key. Who can decrypt it
// holds the shares of this cluster (or its seal). The answer is a MAC under that
// secret over what the node says of itself: its id, its addresses and a
// certificate request. The cluster's answer to that, the certificate among it,
// carries a MAC too, so that a node cannot be led into a cluster that knows
// nothing of the shares either. Neither side's secret crosses the network, so
// joining over plain HTTP discloses nothing, and nothing that was overheard can be
// used for another key. A secret is derived from the challenge's own text; the
// leader remembers nothing of challenges that are never answered.
//
// With Shamir shares that means: join first, then unseal with the shares of the
// cluster. The last share answers the challenge.
//
// A new node follows at once and gets its vote when it has caught up.
//
// # Rows
//
//	store.KindNode       JSON by node id: its key's fingerprint, whether it is to vote
//	store.KindAuthority  JSON: who issues certificates, the newest first
//
// Restoring a backup leaves both as they are.
//
// # Removing
//
// Nodes ask at every connection whether the other is a member. What counts is
// the newest list on which a majority has agreed, whether this node has it from
// its own log or has heard of it: a node that was away must not refuse a leader
// that was added meanwhile. A removed node that comes again is told so by the
// leader; it notes that on its disk and serves nothing from then on.
//
// # Authorities
//
// The leader makes a new authority every year. It issues certificates with it
// once every member trusts it, and drops the old one once every member has a
// certificate of the new. A member that is away holds that up, and is not locked
// out.
package membership
