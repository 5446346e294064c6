// Package barrier seals every value on its way into a store, so that a stolen
// disk, log or snapshot holds nothing readable and nothing that can be moved.
//
// A [Barrier] is a [store.Store] on top of another one. Keys pass as they are;
// values are sealed with AES-256-GCM under the newest data key of the keyring.
// Everything above the barrier sees plaintext, everything below ciphertext.
//
// # Keys
//
// Three layers, each guarding the one below it:
//
//	unseal key or KMS key   wraps   root key     (package seal)
//	root key                seals   the keyring  (one row, [store.KindKeyring])
//	data keys, by term      seal    every value
//
// The newest term encrypts; older terms stay readable for ever. A barrier keeps
// the root key and one expanded cipher per term in memory. Data keys themselves
// exist outside a cipher only while the keyring row is being read or rewritten.
//
// # Sealed value
//
//	offset  size  content
//	0       1     format version, 1
//	1       4     term, big-endian
//	5       12    nonce, random
//	17      n+16  ciphertext and tag
//
// The associated data is
//
//	version(1) | len(cluster id)(4) | cluster id | len(key)(4) | key | term(4)
//
// so a value opens only in its own cluster, at its own key, under its own term,
// with its own header. The key's encoding holds the namespace and mount ids. A
// value that does not open gives [ErrUnreadable] whatever the cause.
//
// # Keyring row
//
//	offset  size  content
//	0       1     format version, 1
//	1       4     newest term, big-endian
//	5       60    handover: the root key under the newest data key
//	65      12    nonce, random
//	77      n+16  sealed keyring
//
// The header up to the nonce and the cluster id are associated data of the
// sealed keyring. Its plaintext is a revision that only rises, the rotation
// settings, and the terms with install time, count of encryptions and key.
//
// The handover lets a running node follow a change of root key that another
// node made: it knows the newest data key, so it learns the new root key from
// the row itself. A node that starts gets the root key from the seal. The price
// is that whoever holds the newest data key and the store also holds the root
// key; the data key alone already opens every current value.
//
// # What the barrier does not do
//
// Keys (names) are not hidden. Rows of the kinds [store.KindSealConfig],
// [store.KindKeyring] and [store.KindClusterInfo] are needed before the barrier
// can open and never pass through it: reading or writing one there is refused,
// scans and watchers skip them. Replaying a whole older copy of a single row at
// its own key is not detected for values; for the keyring its revision does it.
//
// Count of encryptions: each barrier counts in memory and adds to the stored
// count in [Barrier.CheckRotation] and [Barrier.Persist]. A crash loses at most
// what was counted since; the default limit leaves a tenth of the 2^32 that
// random nonces allow as margin.
package barrier
