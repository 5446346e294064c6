//go:build !linux

package diag

// fill knows no source of facts on this system.
func (h *host) fill(_ string, warn func(string)) {
	warn("processors, memory and file systems are not shown on this system")
}
