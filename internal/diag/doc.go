// Package diag is the noun of what an operator looks at when something is
// slow, full or odd: metrics, the log and its levels, the host, requests being
// answered, profiles of the process, and a few counters.
//
// Everything here is one node's own, so no endpoint is forwarded to the leader.
// [Metrics] and [Levels] are made before the rest of the server, which writes to
// them; the noun shows them. Nothing here may show a secret: metric labels are
// from small fixed sets, log lines are redacted where they are written, and the
// command line loses the values of flags that carry credentials.
package diag
