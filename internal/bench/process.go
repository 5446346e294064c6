package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ, which is 100 on every
// architecture that Linux gives to user space.
const tick = 10 * time.Millisecond

// process is the server's process on this machine.
type process int

// cpu is the CPU time that the process has used, user and system together, to
// the hundredth of a second.
func (p process) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", int(p)))
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time of process %d: %w", int(p), err)
	}
	return parseCPU(b)
}

// parseCPU reads fields 14 and 15 of /proc/PID/stat; see proc_pid_stat(5). The
// second field is a name in parentheses that may contain any character.
func parseCPU(stat []byte) (time.Duration, error) {
	end := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[end+1:])
	if end < 0 || len(fields) < 13 {
		return 0, errors.New("reading a process's CPU time: too few fields")
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("reading a process's CPU time: %w", err)
	}
	return time.Duration(user+system) * tick, nil
}

// resident is the process's resident memory in bytes.
func (p process) resident() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", int(p)))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of process %d: %w", int(p), err)
	}
	return parseResident(b)
}

// parseResident reads the line VmRSS of /proc/PID/status, in KiB.
func parseResident(status []byte) (int64, error) {
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			number, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
			n, err := strconv.ParseInt(string(number), 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("reading a process's memory: no VmRSS")
}
