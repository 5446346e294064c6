// Package raft is the durable storage contract: a replicated log
// (hashicorp/raft over raft-wal) and the state that follows from it (Pebble).
//
// # A transaction's way
//
// Update runs its function on a snapshot of the state, noting every key read
// with the version seen and every range scanned with the number of rows seen,
// and buffering writes. The proposer packs all transactions that are waiting
// into one log entry (see entry.go for its form): one fsync for many. The state
// machine checks each transaction's reads against the state it meets, in
// order, and applies those that still hold in one Pebble batch. The others are
// reported as conflicts and run again. The state machine sees no clock, no
// randomness and no network, so every node decides alike.
//
// # Nodes
//
// With a [Network] the store is one node of a cluster. It runs whether or not
// anybody can read what it carries: that is sealed above it. The leader writes;
// [Store.Leader] tells who that is, and that this node is it only once
// everything committed before is applied here. Every node reads its own copy;
// [Store.Confirm] on the leader and [Store.WaitApplied] here make sure of how
// new that is.
//
// A node too far behind for the log gets a copy of the state (stream.go), builds
// it in a folder beside its own, and exchanges the two by replacing the file
// snapshot. A backup is such a copy, too; restoring one is a new commit of the
// whole state.
//
// Raft's own goroutine writes the log, so a disk that hangs holds it up while
// heartbeats go on. A node whose disk takes seconds falls silent instead
// (transport.go), and the others elect another leader.
//
// Rows that were read lately are kept in memory, as the snapshots show them (see
// rows.go): a commit replaces them before it becomes visible.
//
// # Durability
//
// The log is the only write-ahead log. Pebble runs without its own; the index
// of the last applied entry is in the same batch as the rows, so after a crash
// the state is some earlier applied state and the log has everything since.
// The log is cut only up to what Pebble has flushed.
//
// A node that cannot be sure stops: after a failed write or fsync nothing is
// acknowledged or read any more until the process has been restarted, because
// a kernel may mark pages clean that never reached the disk. A full disk is
// foreseen instead: a reserve file and a low-water mark refuse growth early
// (fault.Full) and leave room for transactions that delete.
//
// # On disk
//
//	<path>/LOCK       held by the one process that has the store open
//	<path>/node-id    the node's id, chosen at first start
//	<path>/reserve    space given up when the disk is full
//	<path>/snapshot   index and configuration up to which the log may be cut,
//	                  and the folder of the state
//	<path>/log/       raft-wal segments, and meta with term, vote and segments
//	<path>/state*/    Pebble
//
// Rows are stored at 0x01 + key, as 8 bytes of version (the index of the
// commit that wrote it) and the value. The row 0x00 holds the applied log
// index, the term of that entry, the last commit's index and that of the last
// restore; the row 0x00 0x01 the members. Files are 0600
// and directories 0700 whatever the umask. Values are not encrypted here: that
// is the barrier's work.
package raft
