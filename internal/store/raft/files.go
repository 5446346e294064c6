package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft-wal/types"
	"golang.org/x/sys/unix"
)

// privateFS makes files 0600 and directories 0700 whatever the umask.
type privateFS struct{ vfs.FS }

const (
	fileMode = 0o600
	dirMode  = 0o700
)

// protect sets the mode of a file of the operating system; others have none.
func protect(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return f, err
	}
	if fd := f.Fd(); fd != vfs.InvalidFd {
		if err := syscall.Fchmod(int(fd), fileMode); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// Create implements [vfs.FS].
func (p privateFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return protect(p.FS.Create(name, c))
}

// OpenReadWrite implements [vfs.FS].
func (p privateFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return protect(p.FS.OpenReadWrite(name, c, o...))
}

// ReuseForWrite implements [vfs.FS].
func (p privateFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return protect(p.FS.ReuseForWrite(from, to, c))
}

// MkdirAll implements [vfs.FS].
func (p privateFS) MkdirAll(dir string, _ os.FileMode) error {
	if err := p.FS.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	return p.chmod(dir, dirMode)
}

// Lock implements [vfs.FS].
func (p privateFS) Lock(name string) (io.Closer, error) {
	lock, err := p.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	if err := p.chmod(name, fileMode); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// chmod sets a mode by name, on the operating system's file system only.
func (p privateFS) chmod(name string, mode os.FileMode) error {
	if vfs.Root(p.FS) != vfs.Default {
		return nil
	}
	return os.Chmod(name, mode)
}

// Unwrap implements [vfs.FS].
func (p privateFS) Unwrap() vfs.FS { return p.FS }

// stateFS is the file system as Pebble gets it. Pebble panics when a directory
// cannot be synced; here the store fails and the goroutine is parked.
type stateFS struct {
	vfs.FS
	failAndPark func(error)
}

// OpenDir implements [vfs.FS].
func (s stateFS) OpenDir(name string) (vfs.File, error) {
	d, err := s.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return stateDir{d, s.failAndPark}, nil
}

// Unwrap implements [vfs.FS].
func (s stateFS) Unwrap() vfs.FS { return s.FS }

type stateDir struct {
	vfs.File
	failAndPark func(error)
}

// Sync implements [vfs.File].
func (d stateDir) Sync() error {
	if err := d.File.Sync(); err != nil {
		d.failAndPark(fmt.Errorf("syncing the state's directory: %w", err))
	}
	return nil
}

// segmentFS is the file system as raft-wal wants it.
type segmentFS struct {
	fs vfs.FS
	// full is called when there is no room for a segment; there may be some
	// afterwards.
	full func()
}

var _ types.VFS = segmentFS{}

// ListDir implements [types.VFS].
func (s segmentFS) ListDir(dir string) ([]string, error) { return s.fs.List(dir) }

// Create implements [types.VFS].
func (s segmentFS) Create(dir, name string, size uint64) (types.WritableFile, error) {
	path := s.fs.PathJoin(dir, name)
	if _, err := s.fs.Stat(path); err == nil {
		return nil, fmt.Errorf("creating %s: %w", path, fs.ErrExist)
	}
	f, err := s.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	err = allocate(f, int64(size))
	if vfs.IsNoSpaceError(err) {
		s.full()
		err = allocate(f, int64(size))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), s.fs.Remove(path))
	}
	return &segmentFile{File: f, fs: s.fs, dir: dir}, nil
}

// allocate makes room for size bytes, so that appending needs none later and
// does not change the file's length. Where that is not possible the file
// grows as it is written.
func allocate(f vfs.File, size int64) error {
	fd := f.Fd()
	if fd == vfs.InvalidFd {
		return f.Preallocate(0, size)
	}
	err := unix.Fallocate(int(fd), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

// Delete implements [types.VFS].
func (s segmentFS) Delete(dir, name string) error {
	if err := s.fs.Remove(s.fs.PathJoin(dir, name)); err != nil {
		return err
	}
	return syncDir(s.fs, dir)
}

// OpenReader implements [types.VFS].
func (s segmentFS) OpenReader(dir, name string) (types.ReadableFile, error) {
	return s.fs.Open(s.fs.PathJoin(dir, name))
}

// OpenWriter implements [types.VFS]. Unlike the file system's own
// OpenReadWrite it makes no file.
func (s segmentFS) OpenWriter(dir, name string) (types.WritableFile, error) {
	path := s.fs.PathJoin(dir, name)
	if _, err := s.fs.Stat(path); err != nil {
		return nil, err
	}
	f, err := s.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return &segmentFile{File: f, fs: s.fs, dir: dir}, nil
}

// segmentFile is an open segment. Its first Sync also makes its name durable.
type segmentFile struct {
	vfs.File
	fs    vfs.FS
	dir   string
	named bool
}

// Sync implements [types.WritableFile].
func (f *segmentFile) Sync() error {
	if err := f.File.SyncData(); err != nil {
		return err
	}
	if f.named {
		return nil
	}
	f.named = true
	return syncDir(f.fs, f.dir)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeDir makes a directory, and those above it, so that it is still there
// after a loss of power.
func makeDir(fs vfs.FS, dir string) error {
	parent := fs.PathDir(dir)
	_, err := fs.Stat(dir)
	if err == nil || parent == dir {
		return fs.MkdirAll(dir, dirMode) // for its mode
	}
	if _, err := fs.Stat(parent); err != nil {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	return syncDir(fs, parent)
}

// writeFile replaces a small file atomically and durably. The content is
// preceded by its checksum.
func writeFile(fs vfs.FS, path string, content []byte) error {
	f, err := fs.Create(path+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	// In one buffer, because Write may change what it is given.
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, crcLen+len(content)), crc32.Checksum(content, castagnoli))
	_, err = f.Write(append(b, content...))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(path))
}

// readFile returns what writeFile has written, or an error that is
// [fs.ErrNotExist].
func readFile(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(b) < crcLen || binary.LittleEndian.Uint32(b) != crc32.Checksum(b[crcLen:], castagnoli) {
		return nil, fmt.Errorf("reading %s: %w", path, errChecksum)
	}
	return b[crcLen:], nil
}
