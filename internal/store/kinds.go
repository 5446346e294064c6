package store

// The kinds of rows that Coffer's own nouns keep under the [System] mount: one
// list, so that no two of them can collide. Numbers are on disk for ever.
const (
	KindSealConfig    Kind = 1  // seal: shares, threshold, wrapped root key (not sealed by the barrier)
	KindKeyring       Kind = 2  // barrier: the keyring, sealed with the root key
	KindClusterInfo   Kind = 3  // seal: cluster id and name
	KindNode          Kind = 4  // membership: nodes by id
	KindNamespace     Kind = 5  // namespace: one row each
	KindMount         Kind = 6  // mount: one row each, by mount id
	KindPolicy        Kind = 7  // policy: ACL policies by name
	KindPassword      Kind = 8  // policy: password policies by name
	KindMountPlace    Kind = 9  // mount: mount id to namespace id
	KindToken         Kind = 10 // token: records by token hash
	KindAccessor      Kind = 11 // token: accessor to token hash
	KindTokenParent   Kind = 12 // token: (parent hash, child hash)
	KindTokenRole     Kind = 13 // token: roles by name
	KindTokenKey      Kind = 14 // token: hashing and batch-token keys
	KindLease         Kind = 20 // lease: records by lease id
	KindLeaseOwner    Kind = 21 // lease: (token hash, lease id)
	KindDue           Kind = 22 // lease: (time, sort, id), ordered by expiry
	KindTimer         Kind = 23 // lease: (mount id, name) to due time
	KindWrap          Kind = 25 // wrap: wrapped responses by token hash
	KindAuditDevice   Kind = 30 // audit: devices by path
	KindAuditHeader   Kind = 31 // audit: request headers to record
	KindConfig        Kind = 35 // small settings by name (cors, ui headers, rotation, quotas)
	KindVersion       Kind = 36 // versions this cluster has run
	KindLockout       Kind = 37 // lockout: (mount accessor, alias) to failures
	KindMigration     Kind = 38 // mount: state of remounts
	KindCeremony      Kind = 39 // seal: rekey backup
	KindQuota         Kind = 40 // quota: rate and lease-count quotas
	KindAuthority     Kind = 45 // membership: authorities of the nodes' certificates
	KindEntity        Kind = 50 // identity
	KindEntityAlias   Kind = 51 // identity
	KindGroup         Kind = 52 // identity
	KindIdentityIndex Kind = 53 // identity: secondary indexes
	KindOIDC          Kind = 54 // oidc: keys, roles, clients, providers, codes
	KindSequence      Kind = 60 // id sequences by name
)
