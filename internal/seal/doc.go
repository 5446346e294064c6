// Package seal guards the root key: it initialises a store, unseals it, and
// changes who may.
//
// # The ceremonies
//
// A [Ceremony] runs over the store below the barrier and owns the barrier. It
// holds the progress of what several people do together, share by share:
//
//   - init makes the keys, the shares and the first root token, in one
//     transaction: either all of it is there or nothing;
//   - unseal collects shares until the root key opens, then hands a complete
//     [barrier.Barrier] to the server;
//   - rekey makes new shares (a new unseal key and a new root key), if asked to
//     only after the new shares were shown to work;
//   - rotating the root key alone leaves the shares as they are;
//   - generate-root makes a root token for whoever brings enough shares.
//
// What changes the store is one transaction each. A node that dies at any step
// unseals with the old shares or with the new ones, never with neither: new
// shares are valid from the moment the commit returns, and the old ones up to it.
//
// # What is stored
//
//	store.KindSealConfig   JSON: type of seal, shares, threshold, wrapped root key
//	store.KindKeyring      see package barrier
//	store.KindClusterInfo  JSON: cluster id and name
//
// and, behind the barrier under [store.KindCeremony], the unseal key, so that
// any node can wrap a new root key without asking for shares, and the backup of
// the last rekey's encrypted shares. Type, shares, threshold and cluster id are
// associated data of the wrapped root key: editing them makes it useless. An old
// seal configuration put back over a newer one opens nothing, since a rekey
// changes the root key as well.
//
// # Shares
//
// A share is 33 bytes, see package shamir, given as hexadecimal or base64. With
// one share in all, it is the unseal key itself, 32 bytes.
//
// # Who may
//
// Only init and unseal are open to callers without a token. Everything else
// takes an [Authority], and progress, once begun, can only be added to or
// cancelled by who knows its nonce. The endpoints are in [Ceremony.Routes].
package seal
