package membership

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cofferhq/coffer/internal/fault"
)

// removedFile is there once this node was removed from its cluster.
const removedFile = "removed"

func (s *Service) wasRemoved() (bool, error) {
	_, err := os.Stat(filepath.Join(s.Dir, removedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// leave notes for good that this node was removed.
func (s *Service) leave() error {
	if s.removed.Swap(true) {
		return nil
	}
	s.Log.Error("this node was removed from its cluster; it serves nothing any more")
	s.Removed()
	path := filepath.Join(s.Dir, removedFile)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Check returns why this node must serve nothing, or nil.
func (s *Service) Check() error {
	if s.removed.Load() {
		return fault.New(fault.Unavailable, "this node was removed from its cluster")
	}
	return nil
}
