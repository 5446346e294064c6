//go:build unix

package postgres

import (
	"net"
	"syscall"
)

// readable reports whether something, or the end, waits to be read. An idle
// connection of the simple protocol has nothing to say unless it is ending.
func readable(c net.Conn) bool {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn() // TLS: what waits is its record or the end
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	waiting := false
	// Not raw.Read, which waits for its turn: after a write that was slow, pgx
	// leaves a reader behind that waits for the server's next word, and an idle
	// connection's server has none.
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		waiting = err != syscall.EAGAIN && err != syscall.EWOULDBLOCK && err != syscall.EINTR
	})
	return waiting || err != nil
}
