// Package snapshot is the noun of snapshots: whole copies of what a cluster
// stores, taken while it runs, and their way back.
//
// # The file
//
// A snapshot is a gzip-compressed tar archive with the names that Vault's tools
// look for, in this order:
//
//	meta.json           what it is: [Meta]
//	state.bin           the rows, as the store streams them, sealed as they are stored
//	SHA256SUMS          SHA-256 of the two, as sha256sum writes them
//	SHA256SUMS.sealed   SHA256SUMS, encrypted
//
// What was cut off lacks the sums at its end, and is refused. The last file is
// SHA256SUMS encrypted with the unseal key of the cluster: who restores without
// force knows by it that the snapshot is one that this cluster has made.
//
// # Restoring
//
// The whole file is read to a folder beside the storage and checked, its sums and
// the keys that it needs among it, before anything changes. Then the leader makes
// its rows the cluster's in one step, and the other nodes follow. The nodes'
// list, keys and addresses stay those of the cluster.
package snapshot
