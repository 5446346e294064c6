package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
)

func checkLocal(c schedule) error {
	if !filepath.IsAbs(c.PathPrefix) || filepath.Clean(c.PathPrefix) != c.PathPrefix {
		return fault.New(fault.Invalid, "'path_prefix' must be the absolute path of a directory on every node, without '.' and '..'")
	}
	if c.Local <= 0 {
		return fault.New(fault.Invalid, "'local_max_space' is required: the most bytes that the snapshots may take together")
	}
	return nil
}

// localPlace is a directory of the node that leads.
type localPlace struct {
	dir    string
	max    int64 // bytes
	prefix string
}

func (p localPlace) put(_ context.Context, name string, f *os.File, size int64) (string, error) {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return "", refusedDir(err)
	}
	if err := p.room(size); err != nil {
		return "", err
	}
	to, err := os.CreateTemp(p.dir, ".part-")
	if err != nil {
		return "", refusedDir(err)
	}
	defer os.Remove(to.Name()) // once it has its name, there is nothing to remove
	defer to.Close()
	if _, err := io.Copy(to, io.NewSectionReader(f, 0, size)); err != nil {
		return "", fmt.Errorf("writing the snapshot: %w", err)
	}
	if err := to.Sync(); err != nil {
		return "", fmt.Errorf("writing the snapshot: %w", err)
	}
	path := filepath.Join(p.dir, name)
	if err := os.Rename(to.Name(), path); err != nil {
		return "", err
	}
	return "file://" + path, syncDir(p.dir)
}

func refusedDir(err error) error {
	return fault.Wrap(fault.Upstream, err, "the directory in 'path_prefix' cannot be written by the server")
}

// syncDir makes a new name durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// room refuses a snapshot that would take more than all may take together.
func (p localPlace) room(size int64) error {
	used := size
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return refusedDir(err)
	}
	for _, e := range entries {
		if !ours(p.prefix, e.Name()) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		used += info.Size()
	}
	if used > p.max {
		return fault.Newf(fault.Full, "the snapshots would take %d bytes, 'local_max_space' allows %d: raise it, or keep fewer", used, p.max)
	}
	return nil
}

func (p localPlace) list(_ context.Context, prefix string) ([]string, error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, refusedDir(err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (p localPlace) remove(_ context.Context, name string) error {
	return os.Remove(filepath.Join(p.dir, name))
}
