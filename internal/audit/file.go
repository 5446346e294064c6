package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
)

var fileOptions = []string{"file_path", "path", "mode", "rotate_bytes", "rotate_max_age", "rotate_max_files"}

// OpenFile is the [Opener] of devices of type "file". The option file_path (or
// path) names the file; "stdout" and "discard" are not files but mean what they
// say.
func OpenFile(d Device) (Sink, error) {
	o := optionSet(d.Options)
	if err := o.only(commonOptions, fileOptions); err != nil {
		return nil, err
	}
	path := o["file_path"]
	if path == "" {
		path = o["path"]
	} else if p := o["path"]; p != "" && p != path {
		return nil, fault.New(fault.Invalid, `options "file_path" and "path" differ`)
	}
	f := &file{}
	var err error
	if f.mode, f.chmod, err = o.fileMode("mode"); err != nil {
		return nil, err
	}
	if f.maxBytes, err = o.size("rotate_bytes"); err != nil {
		return nil, err
	}
	if f.maxAge, err = o.duration("rotate_max_age"); err != nil {
		return nil, err
	}
	if f.maxFiles, err = o.count("rotate_max_files"); err != nil {
		return nil, err
	}
	switch path {
	case "":
		return nil, fault.New(fault.Invalid, "file_path is required")
	case "stdout", "/dev/stdout":
		return &stream{w: os.Stdout}, nil
	case "discard", "/dev/null":
		return &stream{w: io.Discard}, nil
	}
	if strings.ContainsRune(path, 0) {
		return nil, fault.New(fault.Invalid, "file_path is not a file name")
	}
	f.path = filepath.Clean(path)
	return f, nil
}

// stream is a sink that cannot be read back, opened anew or made durable.
type stream struct {
	w    io.Writer
	torn bool
}

func (s *stream) Open() (Tail, error) { return Tail{Torn: s.torn}, nil }

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if n > 0 {
		s.torn = p[n-1] != '\n'
	}
	return n, err
}

func (s *stream) Sync() error  { return nil }
func (s *stream) Close() error { return nil }

// file is a sink that appends to a regular file and rotates it.
type file struct {
	path  string
	mode  os.FileMode
	chmod bool // mode was asked for, so an existing file gets it too

	maxBytes int64
	maxAge   time.Duration
	maxFiles int

	f        *os.File
	size     int64
	begun    time.Time // when the file's first line was written, zero if empty
	noSooner time.Time // a failed rotation is not tried again before
}

// Open opens the file for appending, creating it and its folder if need be.
func (f *file) Open() (Tail, error) {
	next, size, err := f.openTarget()
	if err != nil {
		return Tail{}, err
	}
	tail, err := readTail(next, size)
	if err == nil && size == 0 {
		tail.Last, err = f.lastOfRotated()
	}
	if err != nil {
		next.Close()
		return Tail{}, err
	}
	if f.f != nil {
		f.f.Close()
	}
	f.f, f.size, f.begun = next, size, readBegun(next)
	return tail, nil
}

func (f *file) openTarget() (*os.File, int64, error) {
	// Asked before opening, since opening can have an effect on what is no
	// regular file; asked again after, since it may have been replaced.
	if fi, err := os.Stat(f.path); err == nil {
		if err := f.check(fi); err != nil {
			return nil, 0, err
		}
	} else if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return nil, 0, fault.Wrap(fault.Invalid, err, "the folder of the audit file cannot be created")
	}
	next, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, f.mode)
	if err != nil {
		return nil, 0, fault.Wrap(fault.Invalid, err, "the audit file cannot be opened")
	}
	fi, err := next.Stat()
	if err == nil {
		err = f.check(fi)
	}
	if err == nil && f.chmod && fi.Mode().Perm() != f.mode {
		err = next.Chmod(f.mode)
	}
	if err != nil {
		next.Close()
		return nil, 0, err
	}
	return next, fi.Size(), nil
}

// check refuses what is no ordinary file: a folder, a device, a pipe, a program.
func (f *file) check(fi os.FileInfo) error {
	switch {
	case fi.IsDir():
		return fault.New(fault.Invalid, "the audit file is a folder")
	case !fi.Mode().IsRegular():
		return fault.New(fault.Invalid, "the audit file is not a regular file")
	case fi.Mode().Perm()&0o111 != 0:
		return fault.New(fault.Invalid, "the audit file is executable")
	}
	return nil
}

func (f *file) Write(p []byte) (int, error) {
	if f.f == nil {
		return 0, os.ErrClosed
	}
	n, err := f.f.Write(p)
	f.size += int64(n)
	return n, err
}

func (f *file) Sync() error {
	if f.f == nil {
		return os.ErrClosed
	}
	return f.f.Sync()
}

func (f *file) Close() error {
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}

// maxLine bounds how far back the last line is searched for.
const maxLine = 64 << 20

// readTail finds the last whole line of a file.
func readTail(r io.ReaderAt, size int64) (Tail, error) {
	var t Tail
	var have []byte
	end := size
	for end > 0 && size-end < maxLine {
		n := min(end, 64<<10)
		chunk := make([]byte, n, int(n)+len(have))
		if _, err := r.ReadAt(chunk, end-n); err != nil {
			return t, fmt.Errorf("reading end of audit file: %w", err)
		}
		if end == size {
			t.Torn = chunk[n-1] != '\n'
		}
		have = append(chunk, have...)
		end -= n
		if last, ok := lastLine(have, end == 0); ok {
			t.Last = last
			return t, nil
		}
	}
	return t, nil
}

// lastLine returns the last line in b that has its line end, if b is sure to
// hold all of it.
func lastLine(b []byte, whole bool) ([]byte, bool) {
	stop := bytes.LastIndexByte(b, '\n')
	if stop < 0 {
		return nil, whole
	}
	start := bytes.LastIndexByte(b[:stop], '\n') + 1
	if start == 0 && !whole {
		return nil, false
	}
	return b[start:stop], true
}

// readBegun returns the time of a file's first line, zero if it has none.
func readBegun(r io.ReaderAt) time.Time {
	var head [4096]byte
	n, _ := r.ReadAt(head[:], 0)
	_, rest, ok := bytes.Cut(head[:n], []byte(`{"time":"`))
	if !ok {
		return time.Time{}
	}
	text, _, _ := bytes.Cut(rest, []byte{'"'})
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return time.Time{}
	}
	return t
}

// Due reports whether n more bytes would make the file too big, or the file has
// become too old.
func (f *file) Due(now time.Time, n int) bool {
	if f.size == 0 || now.Before(f.noSooner) {
		return false
	}
	if f.begun.IsZero() {
		f.begun = now
	}
	return f.maxBytes > 0 && f.size+int64(n) > f.maxBytes || f.maxAge > 0 && now.Sub(f.begun) >= f.maxAge
}

// rotatedLayout follows the file's name in a rotated one's; it sorts by time.
const rotatedLayout = "20060102T150405.000000000Z"

// Rotate renames the file and opens a new one under its name.
func (f *file) Rotate(now time.Time) error {
	old, err := f.rename(now)
	if err == nil {
		var next *os.File
		if next, _, err = f.openTarget(); err == nil {
			f.f.Close()
			f.f, f.size, f.begun = next, 0, now
			f.prune()
			return nil
		}
		// Lines go on into the renamed file; give it its name back.
		err = errors.Join(err, os.Rename(old, f.path))
	}
	f.noSooner = now.Add(time.Minute)
	return fmt.Errorf("rotating audit file: %w", err)
}

func (f *file) rename(now time.Time) (string, error) {
	for {
		to := f.path + "." + now.UTC().Format(rotatedLayout)
		switch _, err := os.Lstat(to); {
		case errors.Is(err, os.ErrNotExist):
			return to, os.Rename(f.path, to)
		case err != nil:
			return to, err
		}
		now = now.Add(time.Nanosecond)
	}
}

// Target names the file, so that two devices do not write to one.
func (f *file) Target() string {
	if abs, err := filepath.Abs(f.path); err == nil {
		return abs
	}
	return f.path
}

// rotated lists the rotated files, oldest first.
func (f *file) rotated() []string {
	entries, err := os.ReadDir(filepath.Dir(f.path))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		stamp, ok := strings.CutPrefix(e.Name(), filepath.Base(f.path)+".")
		if _, err := time.Parse(rotatedLayout, stamp); ok && err == nil && e.Type().IsRegular() {
			names = append(names, filepath.Join(filepath.Dir(f.path), e.Name()))
		}
	}
	slices.Sort(names)
	return names
}

// prune removes the oldest rotated files beyond the number to keep.
func (f *file) prune() {
	if f.maxFiles == 0 {
		return
	}
	names := f.rotated()
	for _, name := range names[:max(0, len(names)-f.maxFiles)] {
		_ = os.Remove(name) // tried again at the next rotation
	}
}

// lastOfRotated returns the last line of the newest rotated file, so that the
// chain goes on if the server ended between rotating and writing.
func (f *file) lastOfRotated() ([]byte, error) {
	names := f.rotated()
	if len(names) == 0 {
		return nil, nil
	}
	r, err := os.Open(names[len(names)-1])
	if err != nil {
		return nil, nil // kept from us; the chain begins anew
	}
	defer r.Close()
	fi, err := r.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading rotated audit file: %w", err)
	}
	tail, err := readTail(r, fi.Size())
	return tail.Last, err
}
