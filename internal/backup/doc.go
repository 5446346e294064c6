// Package backup is the noun of scheduled snapshots: the endpoints below
// sys/storage/raft/snapshot-auto, and the task that takes snapshots when they
// are due and puts them where the operator wants them: a local directory, an
// S3-compatible store, Azure Blob Storage or Google Cloud Storage.
//
// A schedule is a row, and so is what came of it, so that a new leader goes on
// where the old one was: a snapshot that was due while there was no leader is
// taken at once, and one that has just been taken is not taken again.
//
// Snapshots are ciphertext under the cluster's own keys, so the places that keep
// them need not be trusted with more than their presence. Credentials of those
// places are in the schedule's row, sealed as everything is; no answer shows
// them again.
//
// Names are PREFIX-NANOSECONDS.snap, so that their order is that of time.
// Retention counts only names of that form below the same prefix: nothing else
// in a bucket or directory is ever removed.
package backup
