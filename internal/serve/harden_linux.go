package serve

import (
	"errors"

	"golang.org/x/sys/unix"
)

// noDumps turns core dumps off and refuses other processes of the user a look
// into the memory.
func noDumps() error {
	return errors.Join(
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0),
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
	)
}
