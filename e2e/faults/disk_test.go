package faults_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/pgtest"
)

// disk is a small file system.
type disk struct {
	t    *testing.T
	path string
}

// newDisk mounts a file system in memory of so many bytes.
func newDisk(t *testing.T, size string) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	d := &disk{t, filepath.Join(t.TempDir(), "disk")}
	if err := os.Mkdir(d.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", d.path, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Fatalf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.path, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting the small disk: %v", err)
		}
	})
	return d
}

func (d *disk) ballast() string { return filepath.Join(d.path, "ballast") }

// fill lets somebody else's file grow until so many bytes are left.
func (d *disk) fill(left int64) {
	d.t.Helper()
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		room := d.free() - left
		if room <= 0 {
			return
		}
		_, err := f.Write(block[:min(room, int64(len(block)))])
		if errors.Is(err, syscall.ENOSPC) {
			return
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
}

// clear removes what fill has written.
func (d *disk) clear() {
	d.t.Helper()
	if err := os.Remove(d.ballast()); err != nil {
		d.t.Fatal(err)
	}
}

// free is how many bytes are left.
func (d *disk) free() int64 {
	d.t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.path, &s); err != nil {
		d.t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// TestFullDisk fills the storage's disk: a little room left, none at all, and
// by the server's own writes. Growth is refused with 507; reading, deleting and
// revoking work; and with room everything works again, without a restart.
func TestFullDisk(t *testing.T) {
	pg := pgtest.Start(t)
	for _, c := range []struct {
		name string
		fill func(t *testing.T, n *node, d *disk)
		// stays says that no more than deletions would free makes room.
		stays bool
	}{
		{"nearly", func(_ *testing.T, _ *node, d *disk) { d.fill(8 << 20) }, true},
		{"entirely", func(_ *testing.T, _ *node, d *disk) { d.fill(0) }, true},
		{"by the server", func(t *testing.T, n *node, d *disk) {
			d.fill(112 << 20)
			overfill(t, n)
		}, false}, // it has log to give back
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t, "256m")
			n := newNode(t, place{data: filepath.Join(d.path, "data")})
			n.showLog()
			prepare(t, n, pg)
			full := furnish(t, n)
			c.fill(t, n, d)
			eventually(t, 10*time.Second, "growth is refused", func() bool { return grow(n).Status == http.StatusInsufficientStorage })
			if a := grow(n); !strings.Contains(string(a.Body), "room") {
				t.Errorf("the refusal does not say why: %s", a)
			}
			full.use(t, n, pg)
			overwrite(t, n)
			if a := grow(n); c.stays && a.Status != http.StatusInsufficientStorage {
				t.Errorf("after deletions, while the disk is as full: %s", a)
			}
			d.clear()
			eventually(t, 10*time.Second, "writing works again", func() bool { return grow(n).acknowledged() })
			n.kill()
			n.readRows().audit(t)
			n.restart()
			full.check(t, n)
		})
	}
}

// grow writes a new secret.
func grow(n *node) answer {
	return n.call(http.MethodPost, "secret/data/new", n.Root, object{"data": object{"n": 1}})
}

// overfill writes until the server says that there is no room.
func overfill(t *testing.T, n *node) {
	t.Helper()
	big := strings.Repeat("x", 512<<10)
	for i := range 2000 {
		a := n.call(http.MethodPost, "secret/data/big/"+strconv.Itoa(i), n.Root, object{"data": object{"n": i, "text": big}})
		if a.Status == http.StatusInsufficientStorage {
			t.Logf("full after %d writes of %d bytes", i, len(big))
			return
		}
		a.must(t, 200)
	}
	t.Fatal("the disk does not fill up")
}

// overwrite changes a secret so often that the log would fill the disk's reserve
// several times over, if it were not cut.
func overwrite(t *testing.T, n *node) {
	t.Helper()
	text := strings.Repeat("y", 40<<10)
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for range 400 {
				if a := n.call(http.MethodPost, "kv/"+strconv.Itoa(i), n.Root, object{"text": text}); a.Status != http.StatusNoContent {
					t.Errorf("overwriting on a full disk: %s", a)
					return
				}
			}
		})
	}
	clients.Wait()
}

// furniture is what there is before the disk fills up.
type furniture struct {
	token, holder, family string
	user, held            credential
}

func furnish(t *testing.T, n *node) furniture {
	t.Helper()
	var f furniture
	for _, name := range []string{"read", "delete", "destroy", "forget"} {
		n.call(http.MethodPost, "secret/data/"+name, n.Root, object{"data": object{"n": 1}}).must(t, 200)
	}
	n.call(http.MethodPost, "sys/mounts/kv", n.Root, object{"type": "kv"}).must(t, 204)
	for i := range 8 {
		n.call(http.MethodPost, "kv/"+strconv.Itoa(i), n.Root, object{"text": strings.Repeat("x", 40<<10)}).must(t, 204)
	}
	f.token, f.holder = newHolder(t, n), newHolder(t, n)
	f.user = issueMany(t, n, n.Root, "database", 1)[0]
	f.held = issueMany(t, n, f.holder, "database", 1)[0]
	return f
}

// use does everything that a full disk must allow.
func (f furniture) use(t *testing.T, n *node, pg *pgtest.Server) {
	t.Helper()
	for _, c := range []struct {
		method, path string
		body         any
		want         int
	}{
		{http.MethodGet, "secret/data/read", nil, 200},
		{"LIST", "secret/metadata", nil, 200},
		{http.MethodGet, "auth/token/lookup-self", nil, 200},
		{http.MethodDelete, "secret/data/delete", nil, 204},
		{http.MethodPut, "secret/destroy/destroy", object{"versions": []int{1}}, 204},
		{http.MethodDelete, "secret/metadata/forget", nil, 204},
		{http.MethodPost, "auth/token/revoke", object{"token": f.token}, 204},
		{http.MethodPut, "sys/leases/revoke", object{"lease_id": f.user.lease}, 204},
		{http.MethodPost, "auth/token/revoke", object{"token": f.holder}, 204},
		{http.MethodDelete, "sys/policies/acl/minter", nil, 204},
	} {
		if a := n.call(c.method, c.path, n.Root, c.body); a.Status != c.want {
			t.Errorf("on a full disk %s: %s, want %d", a.What, a, c.want)
		}
	}
	if pg.HasRole(f.user.user) {
		t.Error("the user of a revoked lease is there")
	}
	eventually(t, readiness, "the user of the revoked token is gone", func() bool { return !pg.HasRole(f.held.user) })
	f.check(t, n)
}

// check looks whether what was done on the full disk is so.
func (f furniture) check(t *testing.T, n *node) {
	t.Helper()
	for path, want := range map[string]int{"read": 200, "delete": 404, "destroy": 404, "forget": 404} {
		if a := n.call(http.MethodGet, "secret/data/"+path, n.Root, nil); a.Status != want {
			t.Errorf("%s: %s, want %d", a.What, a, want)
		}
	}
	for _, token := range []string{f.token, f.holder} {
		if alive, err := lives(n, token); err != nil || alive {
			t.Errorf("a revoked token lives: %t (%v)", alive, err)
		}
	}
	for _, c := range []credential{f.user, f.held} {
		if alive, err := leased(n, c.lease); err != nil || alive {
			t.Errorf("a revoked lease is there: %t (%v)", alive, err)
		}
	}
}

// TestFullAuditDisk fills the disk of an audit device. Without another device
// every request fails, and says why; with one, none does. With room everything
// works again, without a restart.
func TestFullAuditDisk(t *testing.T) {
	for _, c := range []struct {
		name   string
		second bool
	}{{"alone", false}, {"beside another", true}} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t, "2m")
			p := place{audit: filepath.Join(d.path, "audit.log")}
			if c.second {
				p.extra = `audit "file" "second" { options { file_path = "` + filepath.Join(t.TempDir(), "second.log") + `" } }`
			}
			n := newNode(t, p)
			n.showLog()
			n.call(http.MethodPost, "sys/mounts/kv", n.Root, object{"type": "kv"}).must(t, 204)
			n.call(http.MethodPost, "kv/a", n.Root, object{"n": 0}).must(t, 204)
			d.fill(0)
			if c.second {
				for range 200 {
					n.call(http.MethodPost, "kv/a", n.Root, object{"n": 1}).must(t, 204)
					n.call(http.MethodGet, "kv/a", n.Root, nil).must(t, 200)
				}
				d.clear()
			} else {
				refusedUnaudited(t, n)
				d.clear()
				eventually(t, 10*time.Second, "requests are served again", func() bool {
					return n.call(http.MethodGet, "kv/a", n.Root, nil).Status == http.StatusOK
				})
				kept, err := data[struct{ N int }](n.call(http.MethodGet, "kv/a", n.Root, nil).must(t, 200))
				if err != nil || kept.N != 0 {
					t.Errorf("a write that was refused has taken effect: %d (%v)", kept.N, err)
				}
			}
			n.call(http.MethodPost, "kv/a", n.Root, object{"n": 2}).must(t, 204)
		})
	}
}

// refusedUnaudited sends requests until the audit device's last page is full,
// and then more: they must all be refused.
func refusedUnaudited(t *testing.T, n *node) {
	t.Helper()
	read := func() answer { return n.call(http.MethodGet, "kv/a", n.Root, nil) }
	eventually(t, 10*time.Second, "reads are refused", func() bool { return read().uncertain() })
	for range 20 {
		for _, a := range []answer{read(), n.call(http.MethodPost, "kv/a", n.Root, object{"n": 1}), n.call(http.MethodDelete, "kv/a", n.Root, nil)} {
			if a.Err != nil || a.Status < 500 || !strings.Contains(string(a.Body), "audit") || strings.Contains(string(a.Body), `"n"`) {
				t.Fatalf("%s without a record: %s", a.What, a)
			}
		}
	}
}
