// Package replica is what a node knows of its place in the cluster: whether it
// leads, who does, and how far its copy of the state is.
//
// Every node serves reads from its own copy. Three rules keep that honest:
//
//   - A write's answer carries an [Index]; a node that is given one waits until
//     its copy is that far ([Node.Await]).
//   - A refusal ("no such token", "not found") is never given from a copy that
//     may be behind: [Node.Fresh] asks the leader how far the cluster is, waits
//     until this node is there too, and the request is then run again. Questions
//     of many requests at once are one question to the leader.
//   - A copy that has not heard of a leader for [StaleAfter] serves nothing
//     ([Node.Stale]), so that a revoked token ends on a node that is cut off, too.
//
// The package knows neither HTTP nor the protocol between nodes: [Consensus] is
// what it needs of the replicated store, [Config.Ask] how it asks the leader.
package replica
