//go:build !unix

package postgres

import "net"

// readable cannot tell on this system: a dead connection is noticed in use.
func readable(net.Conn) bool { return false }
