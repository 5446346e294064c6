package userpass_test

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// Work is processor time of the thread, which other processes do not add to;
// the least of a few tries is nearest to the truth.
func TestARefusalIsTheSameWorkForEveryName(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	m := mount(t)
	m.Write("users/cheap", map[string]any{"password_hash": hashOfSecret})
	m.Write("users/usual", map[string]any{"password": "pw"})
	m.Write("users/dear", map[string]any{"password_hash": "$2a$11$" + hashOfSecret[7:]})
	work := map[string]time.Duration{}
	for range 3 {
		for _, name := range []string{"cheap", "usual", "dear", "nobody"} {
			start := threadTime(t)
			m.Fails(fault.Unauthenticated, route.VerbWrite, "login/"+name, map[string]any{"password": "wrong"})
			took := threadTime(t) - start
			if least, ok := work[name]; !ok || took < least {
				work[name] = took
			}
		}
	}
	t.Log(work)
	for name, took := range work {
		if ratio := float64(took) / float64(work["dear"]); ratio < 0.7 || ratio > 1.4 {
			t.Errorf("a refusal of %s takes %v, of the user with the dearest hash %v", name, took, work["dear"])
		}
	}
}

func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
