package config

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"
)

// freeSpace returns the bytes that this user may still write at path.
func freeSpace(path string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil
}

func openFileLimit() (uint64, error) { return resourceLimit(unix.RLIMIT_NOFILE) }

func coreDumpLimit() (uint64, error) { return resourceLimit(unix.RLIMIT_CORE) }

func resourceLimit(resource int) (uint64, error) {
	var limit unix.Rlimit
	err := unix.Getrlimit(resource, &limit)
	return limit.Cur, err
}

// swapActive tells whether a swap area is in use, other than one compressed
// into memory.
func swapActive() (bool, error) {
	data, err := os.ReadFile("/proc/swaps")
	if err != nil {
		return false, err
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	for _, line := range lines[min(1, len(lines)):] {
		if !bytes.HasPrefix(line, []byte("/dev/zram")) {
			return true, nil
		}
	}
	return false, nil
}

func clockSynchronised() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return state != unix.TIME_ERROR, err
}
