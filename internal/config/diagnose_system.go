package config

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Free space below which the durable store is worth a warning, and below which
// it will not get far.
const (
	lowSpace     = 1 << 30
	minimumSpace = 64 << 20
)

// earliestYear is the year of the first release: a clock before it is wrong.
const earliestYear = 2026

func (x *examiner) storage(context.Context) {
	r := x.c.Storage.Raft
	if r == nil {
		if x.c.Storage.Type == "inmem" {
			x.report.warn("storage", "the data is kept in memory and lost when the server stops", `use storage "raft"`)
		}
		return
	}
	if r.Path == "" {
		x.report.skip("storage", "no path is configured")
		return
	}
	info, err := os.Stat(r.Path)
	switch {
	case os.IsNotExist(err):
		x.missingDirectory(r.Path)
		return
	case err != nil:
		x.report.fail("storage", err.Error(), "check the permissions of the directories above")
		return
	case !info.IsDir():
		x.report.fail("storage", r.Path+" is not a directory", "give the path of a directory")
		return
	}
	x.permissions(r.Path, info)
	x.syncs(r.Path)
	x.space(r.Path)
}

// missingDirectory checks that the server can create its directory.
func (x *examiner) missingDirectory(path string) {
	parent := filepath.Dir(path)
	if info, err := os.Stat(parent); err != nil || !info.IsDir() || !x.writable(parent) {
		x.report.fail("storage", path+" does not exist and this user cannot create it", "create it with permissions 0700 and give it to the server's user")
		return
	}
	x.report.ok("storage", "%s does not exist yet and can be created", path)
	x.space(parent)
}

func (x *examiner) permissions(path string, info fs.FileInfo) {
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		x.report.warn("storage permissions", fmt.Sprintf("%s has the permissions %04o", path, perm), "set them to 0700, so that other users cannot copy the data")
		return
	}
	x.report.ok("storage permissions", "%s belongs to this user alone", path)
}

// syncs writes a file through to the disk, as every acknowledged write does.
func (x *examiner) syncs(path string) {
	file, err := os.CreateTemp(path, ".coffer-probe-*")
	if err != nil {
		x.report.fail("storage writes", "this user cannot write to "+path, "give the directory to the server's user, and check that it is not mounted read-only")
		return
	}
	defer os.Remove(file.Name())
	defer file.Close()
	block := make([]byte, 4096)
	start := x.now.Now()
	const rounds = 8
	for range rounds {
		if _, err := file.Write(block); err != nil {
			x.report.fail("storage writes", "writing fails: "+err.Error(), "check the disk and its free space")
			return
		}
		if err := file.Sync(); err != nil {
			x.report.fail("storage writes", "fsync fails: "+err.Error(), "use a local file system; without fsync an acknowledged write can be lost")
			return
		}
	}
	each := x.now.Now().Sub(start) / rounds
	if each > 50*time.Millisecond {
		x.report.warn("storage writes", fmt.Sprintf("an fsync takes %s", each.Round(time.Millisecond)), "use a faster disk: every write waits for one")
		return
	}
	x.report.ok("storage writes", "fsync works")
}

func (x *examiner) space(path string) {
	free, err := freeSpace(path)
	switch {
	case err != nil:
		x.report.skip("storage space", "not known on this system")
	case free < minimumSpace:
		x.report.fail("storage space", fmt.Sprintf("%d MiB are free", free>>20), "free some space: a full disk stops every write")
	case free < lowSpace:
		x.report.warn("storage space", fmt.Sprintf("%d MiB are free", free>>20), "keep 1 GiB free for logs and snapshots")
	default:
		x.report.ok("storage space", "%d MiB are free", free>>20)
	}
}

func (x *examiner) system(context.Context) {
	x.openFiles()
	x.coreDumps()
	x.swap()
	x.clock()
}

func (x *examiner) openFiles() {
	const wanted = 16384
	limit, err := openFileLimit()
	switch {
	case err != nil:
		x.report.skip("open files", "not known on this system")
	case limit < wanted:
		x.report.warn("open files", fmt.Sprintf("a process may open %d files", limit), fmt.Sprintf("raise the limit to %d or more (LimitNOFILE in systemd, ulimit -n in a shell): each connection is one", wanted))
	default:
		x.report.ok("open files", "a process may open %d files", limit)
	}
}

func (x *examiner) coreDumps() {
	limit, err := coreDumpLimit()
	switch {
	case err != nil:
		x.report.skip("core dumps", "not known on this system")
	case limit > 0:
		x.report.warn("core dumps", "a crash may write the memory, with the keys in it, to disk", "set LimitCORE=0 in systemd, or ulimit -c 0 in a shell")
	default:
		x.report.ok("core dumps", "off")
	}
}

func (x *examiner) swap() {
	active, err := swapActive()
	switch {
	case err != nil:
		x.report.skip("swap", "not known on this system")
	case active:
		x.report.warn("swap", "the machine swaps, so that keys may reach the disk", "turn swap off, encrypt it, or set MemorySwapMax=0 in systemd")
	default:
		x.report.ok("swap", "off")
	}
}

func (x *examiner) clock() {
	now := x.now.Now()
	if now.Year() < earliestYear {
		x.report.fail("clock", "the machine says it is "+date(now), "set the clock: leases, tokens and certificates depend on it")
		return
	}
	synchronised, err := clockSynchronised()
	switch {
	case err != nil:
		x.report.ok("clock", "says %s", now.Format(time.RFC3339))
	case !synchronised:
		x.report.warn("clock", "the clock is not synchronised", "run a time service such as chrony or systemd-timesyncd")
	default:
		x.report.ok("clock", "synchronised")
	}
}
