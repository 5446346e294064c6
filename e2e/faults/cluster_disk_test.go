package faults_test

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
)

// TestLeadersDisk lets the disk of the leader go wrong in several ways, under
// load. In each the leader must lose its office, so that writes go on through
// the others; nothing that was acknowledged may be lost.
func TestLeadersDisk(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is not installed; it injects the faults")
	}
	const syncs = "inject=fsync,fdatasync,sync_file_range:"
	for _, tt := range []struct {
		name   string
		disk   string // size of the leader's disk, "" for an ordinary one
		begin  func(t *testing.T, n *node, d *disk) (end func())
		within time.Duration
	}{
		{"writes cannot be made durable", "", func(t *testing.T, n *node, _ *disk) func() {
			return inject(t, strace, n.cmd.Process.Pid, syncs+"error=EIO")
		}, 5 * time.Second},
		{"writes hang", "", func(t *testing.T, n *node, _ *disk) func() {
			return inject(t, strace, n.cmd.Process.Pid, syncs+"delay_enter=60000000")
		}, 15 * time.Second},
		{"the disk is full", "512m", func(_ *testing.T, _ *node, d *disk) func() {
			d.fill(0)
			return d.clear
		}, 15 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d *disk
			c := newClusterOn(t, 3, func(i int) string {
				if i != 0 || tt.disk == "" {
					return ""
				}
				d = newDisk(t, tt.disk)
				return d.path + "/data"
			})
			h := newHistory(c, 8)
			c.handTo(0)
			ctx, stop := context.WithCancel(background())
			defer stop()
			wait := h.run(ctx, 6)
			end := tt.begin(t, c.nodes[0], d)
			began := clock.System{}.Now()
			eventually(t, tt.within, "another node leads", func() bool {
				leader := c.leadingOf(1, 2)
				return leader > 0
			})
			took := clock.System{}.Now().Sub(began)
			c.writableAt(10*time.Second, 1, 2)
			t.Logf("%s: another node led after %v", tt.name, took)
			end()
			// What a node did not keep it must not count on: it starts anew.
			c.nodes[0].kill()
			c.restart(c.nodes[0])
			c.writable(15 * time.Second)
			stop()
			wait()
			h.settled()
			h.check()
		})
	}
}
