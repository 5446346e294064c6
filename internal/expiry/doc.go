// Package expiry is the one index of everything that ends or falls due: tokens,
// leases and the timers of engines.
//
// An item is a row, ordered by queue and time:
//
//	(root namespace, system, KindDue, queue, time, class and id) -> attempts
//
// A queue is a mount's id (0 for tokens), so that a mount whose database is
// dead holds up nobody else. Nothing is kept in memory but the time of each
// queue's head: there is no timer, goroutine or heap object per lease, and
// start and failover cost the same with a hundred leases as with ten million.
//
// The scheduler ([Scheduler.Run]) works on the leader only. It hands due items
// to the handler of their class. A handler that succeeds has removed the item
// in a transaction of its own (with whatever it stood for); one that fails has
// its item moved to a later time, with growing delays up to [MaxDelay], for
// ever. Attempts and last error stay readable in the row.
package expiry
