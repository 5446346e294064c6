// Package quota is the noun behind sys/quotas: how many requests clients may
// make, and how many leases there may be.
//
// # Scopes
//
// A quota binds a namespace, a mount, a path of a mount (exact, or all that
// begins with it if it ends with "*"), or the logins of one role of an auth
// method. Of the quotas that one namespace has written, the most specific one
// binds a request: role, path, mount, namespace, then what a namespace further
// up hands down. A request must pass the quotas of its own namespace and of
// every one above it, so that a tenant cannot lift what the operator has set.
//
// Quotas hold the id of their mount: they follow it when it moves, and go when
// it goes ([ForgetMount]).
//
// # Rate limits
//
// A client has a bucket of tokens per quota, by its address, its entity, or
// one for all. A bucket is one time (GCRA: when it will be full again), so that
// nothing needs to run to refill it, and a full bucket is as good as none. The
// number of buckets is bounded; clients beyond it share one, rather than be
// without limit.
//
// [Store.Rates] is nil without quotas: a request then pays one atomic load.
// Else it passes a [Check] in up to three stages: before anything is parsed,
// when its token is known, and for a login when its role is known. Buckets are
// each node's own.
//
// # Lease counts
//
// Leases are counted where they are, by a scan that stops beyond the limit.
// Between scans a meter follows the change feed with an upper and a lower bound
// and counts what is under way, so that a scan is needed only near the limit,
// and no row has to be written for the count. Tokens that a path has granted
// are leases of that path.
package quota
