// Package namespace is the noun behind sys/namespaces: the tenants. Each has
// mounts, policies, identities, tokens and leases of its own, and namespaces
// below it.
//
// A namespace has a number that is never used again; every key in the store
// begins with it, and every handle (token, accessor, lease) carries it, so that
// what belongs to one namespace cannot be mistaken for another's, nor what
// belonged to one that is gone for that of a new one with the same name.
//
// # Rows
//
// All under the root namespace:
//
//	KindNamespace  "id", number              Entry
//	               "child", parent, name     number
//	               "ending", number          empty: a deletion that is not finished
//
// Looking a path up is one row for each of its segments, however many namespaces
// there are. What was looked up stays in memory, as a tree that the change feed
// keeps right, so a start reads no namespace but those that are asked for.
//
// # Deletion
//
// Deleting marks the namespace in one transaction, and from then on no request
// enters it. A worker waits for the requests inside to end, lets the other nouns
// end what was granted (which reaches the systems behind the engines, and is
// repeated until they agree), and then removes every key that begins with the
// namespace's number. A server that stops on the way goes on where it was.
package namespace
