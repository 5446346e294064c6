package diag_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/diag"
)

// proc writes what a kernel shows of a machine with one processor.
func proc(t *testing.T, files map[string]string) func(*diag.Config) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(c *diag.Config) { c.Proc = dir }
}

func TestHostInfo(t *testing.T) {
	f := setup(t, proc(t, map[string]string{
		"stat":             "cpu  100 200 300 400 500 0 0 0 0 0\ncpu0 100 200 300 400 500 0 0 0 0 0\nbtime 1767323000\nprocesses 5\n",
		"meminfo":          "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 250 kB\nBuffers: 10 kB\nCached: 20 kB\n",
		"self/mountinfo":   "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n23 22 0:5 / /nfs rw - nfs server:/x rw\n24 22 8:1 / /again rw - ext4 /dev/sda1 rw\n",
		"1/stat":           "",
		"17/stat":          "",
		"notaprocess/stat": "",
	}))
	r := f.Read("host-info")
	got := r.Map(t)
	if got["timestamp"] != "2026-01-02T03:04:05Z" {
		t.Errorf("timestamp %v", got["timestamp"])
	}
	memory := map[string]any{
		"total": 1024000.0, "available": 256000.0, "used": 768000.0, "usedPercent": 75.0, "free": 102400.0, "active": 0.0, "inactive": 0.0,
		"buffers": 10240.0, "cached": 20480.0, "swapTotal": 0.0, "swapFree": 0.0,
	}
	if diff := cmp.Diff(memory, got["memory"]); diff != "" {
		t.Error("memory (-want +got):\n" + diff)
	}
	times := []any{map[string]any{
		"cpu": "cpu0", "user": 1.0, "nice": 2.0, "system": 3.0, "idle": 4.0, "iowait": 5.0, "irq": 0.0, "softirq": 0.0, "steal": 0.0, "guest": 0.0, "guestNice": 0.0,
	}}
	if diff := cmp.Diff(times, got["cpu_times"]); diff != "" {
		t.Error("times (-want +got):\n" + diff)
	}
	host, _ := got["host"].(map[string]any)
	if host["bootTime"] != 1767323000.0 || host["uptime"] != 45.0 || host["procs"] != 2.0 || host["os"] != "linux" || host["kernelVersion"] == "" {
		t.Errorf("host %v", host)
	}
	if disks, _ := got["disk"].([]any); len(disks) != 1 || disks[0].(map[string]any)["path"] != "/" {
		t.Errorf("disks %v", got["disk"])
	}
	if diff := cmp.Diff([]string{"facts about processors cannot be read"}, r.Warnings); diff != "" {
		t.Error("warnings (-want +got):\n" + diff)
	}
}

func TestHostInfoWithoutAKernelToAsk(t *testing.T) {
	f := setup(t, func(c *diag.Config) { c.Proc = "/nowhere" })
	if r := f.Read("host-info"); len(r.Warnings) != 1 {
		t.Errorf("warnings %q", r.Warnings)
	}
	if r := setup(t).Read("host-info"); len(r.Map(t)) < 5 {
		t.Errorf("this machine: %s", r.Data)
	}
}
