// Package bench loads a server that speaks the Vault HTTP API and measures what
// it does: requests per second, latency, and, if the server runs on this
// machine, its CPU time per request and its resident memory.
//
// A run ([Run]) prepares a [Workload] (mounts, keys, roles, a token that is not
// root), lets a number of clients send its requests over connections of their
// own, each the next request once the last is answered, and removes what it has
// made. The clients speak HTTP/1.1 in few instructions, because they share the
// machine's processors with the server that they measure.
//
// Every figure is the median of several rounds. CPU per request is the steadiest
// of them: other load on the machine hardly changes it.
package bench
