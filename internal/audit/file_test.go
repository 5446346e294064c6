package audit_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/audit"
	"github.com/cofferhq/coffer/internal/fault"
)

// logFiles are a log's files, oldest first.
func logFiles(t testing.TB, path string) []string {
	t.Helper()
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files) // the stamp sorts; the bare name comes first, but is newest
	return append(files[1:], files[0])
}

// verifyFiles verifies a log over its files and returns its request ids.
func verifyFiles(t testing.TB, h *house, path string) (audit.Report, []string) {
	t.Helper()
	v := audit.NewVerifier(h.Pub())
	var ids []string
	for _, name := range logFiles(t, path) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, requestIDs(string(b))...)
		if err := v.Read(strings.NewReader(string(b))); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if err := v.Finish(); err != nil {
		t.Fatal(err)
	}
	return v.Report(), ids
}

func TestRotationBySizeUnderLoadLosesNothing(t *testing.T) {
	h := newHouse(t, nil)
	path := filepath.Join(t.TempDir(), "audit.log")
	h.enable(t, "file", map[string]string{"file_path": path, "rotate_bytes": "32KiB", "fsync": "none"})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				if err := h.log(t, fmt.Sprintf("%d-%d", i, j)); err != nil {
					t.Error(err)
				}
				if j%25 == 0 {
					h.Reopen()
				}
			}
		})
	}
	wg.Wait()
	h.stop()
	r, ids := verifyFiles(t, h, path)
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 800 || r.Entries != 800 || r.Unproven != 0 || !r.Complete || r.FirstSeq != 1 {
		t.Errorf("%d ids, %+v", len(ids), r)
	}
	files := logFiles(t, path)
	if len(files) < 5 {
		t.Errorf("only %d files", len(files))
	}
	for _, name := range files {
		fi, err := os.Stat(name)
		if err != nil || fi.Size() > 40<<10 || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v bytes, mode %v", name, fi.Size(), fi.Mode())
		}
	}
}

func TestRotationByAgeAndRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		path := filepath.Join(t.TempDir(), "audit.log")
		h.enable(t, "file", map[string]string{"file_path": path, "rotate_max_age": "1h", "rotate_max_files": "2"})
		for i := range 6 {
			if err := h.log(t, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
			<-time.After(61 * time.Minute)
		}
		h.stop()
		files := logFiles(t, path)
		if len(files) != 3 {
			t.Errorf("files: %v", files)
		}
		if _, ids := verifyFiles(t, h, path); len(ids) == 0 || ids[len(ids)-1] != "5" {
			t.Errorf("ids: %v", ids)
		}
	})
}

func TestReopenFollowsARenamedFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		dir := t.TempDir()
		path := filepath.Join(dir, "audit.log")
		h.enable(t, "file", map[string]string{"file_path": path})
		for i := range 3 {
			if err := h.log(t, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path, filepath.Join(dir, fmt.Sprintf("old.%d", i))); err != nil {
				t.Fatal(err)
			}
			h.Reopen()
			synctest.Wait()
			if _, err := os.Stat(path); err != nil {
				t.Fatalf("not opened anew: %v", err)
			}
		}
		h.stop()
		v := audit.NewVerifier(h.Pub())
		for _, name := range []string{"old.0", "old.1", "old.2", "audit.log"} {
			f, err := os.Open(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := v.Read(f); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !v.Report().Complete {
				t.Errorf("%s does not end in good order", name)
			}
		}
	})
}

func TestChainGoesOnAcrossRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	var first *house
	for i := range 3 {
		h := newHouse(t, func(c *audit.Config) {
			if first != nil {
				c.Store = first.Store
			}
		})
		if first == nil {
			first = h
			h.enable(t, "file", map[string]string{"file_path": path})
		}
		if err := h.log(t, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		h.stop()
		if i == 1 { // a crash in the middle of a line
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(`{"time":"2026`); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	r, ids := verifyFiles(t, first, path)
	if d := cmp.Diff([]string{"0", "1", "2"}, ids); d != "" {
		t.Error(d)
	}
	if r.Restarts != 0 || r.Torn != 1 || r.FirstSeq != 1 || r.Unproven != 0 {
		t.Errorf("%+v", r)
	}
}

func TestChainGoesOnFromARotatedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	h := newHouse(t, nil)
	h.enable(t, "file", map[string]string{"file_path": path})
	if err := h.log(t, "1"); err != nil {
		t.Fatal(err)
	}
	h.stop()
	if err := os.Rename(path, path+".20260102T030405.000000000Z"); err != nil {
		t.Fatal(err)
	}
	again := newHouse(t, func(c *audit.Config) { c.Store = h.Store })
	if err := again.log(t, "2"); err != nil {
		t.Fatal(err)
	}
	again.stop()
	if r, ids := verifyFiles(t, h, path); len(ids) != 2 || r.Restarts != 0 {
		t.Errorf("%v, %+v", ids, r)
	}
}

// An audit log of another server can be gone on with in place.
func TestForeignFileIsContinued(t *testing.T) {
	for name, old := range map[string]string{
		"whole lines":  "{\"type\":\"request\"}\n{\"type\":\"response\"}\n",
		"an open line": "{\"type\":\"request\"}\n{\"type\":\"resp",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
				t.Fatal(err)
			}
			h := newHouse(t, nil)
			h.enable(t, "file", map[string]string{"file_path": path})
			if err := h.log(t, "1"); err != nil {
				t.Fatal(err)
			}
			h.stop()
			r, ids := verifyFiles(t, h, path)
			if len(ids) != 1 || r.Foreign != 2 || r.Entries != 1 || r.FirstSeq != 1 {
				t.Errorf("%v %+v", ids, r)
			}
		})
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "log")
	h := newHouse(t, nil)
	for name, o := range map[string]map[string]string{
		"a folder":               {"file_path": dir},
		"a pipe":                 {"file_path": fifo},
		"a device":               {"file_path": "/dev/zero"},
		"a device, other name":   {"path": "/dev/zero"},
		"a program":              {"file_path": program},
		"a link to a program":    {"path": link},
		"a file as folder":       {"file_path": program + "/x"},
		"executable permissions": {"file_path": plain, "mode": "0700"},
		"setuid":                 {"file_path": plain, "mode": "4600"},
		"no permissions":         {"file_path": plain, "mode": "rw"},
		"no path":                {},
		"two paths":              {"file_path": plain, "path": plain + "2"},
		"a NUL":                  {"file_path": plain + "\x00"},
		"jsonx":                  {"file_path": plain, "format": "jsonx"},
		"another format":         {"file_path": plain, "format": "xml"},
		"an unknown option":      {"file_path": plain, "fille_path": "x"},
		"a bad switch":           {"file_path": plain, "log_raw": "maybe"},
		"a bad size":             {"file_path": plain, "rotate_bytes": "many"},
		"a huge size":            {"file_path": plain, "rotate_bytes": "9999999999GiB"},
		"a bad age":              {"file_path": plain, "rotate_max_age": "-1h"},
		"a bad count":            {"file_path": plain, "rotate_max_files": "-1"},
		"a bad fsync":            {"file_path": plain, "fsync": "sometimes"},
		"a prefix of two lines":  {"file_path": plain, "prefix": "#!/bin/sh\n"},
		"a long prefix":          {"file_path": plain, "prefix": strings.Repeat("x", 1000)},
	} {
		err := h.Enable(t.Context(), audit.Device{Path: "f", Type: "file", Options: o})
		if !errors.Is(err, fault.Invalid) || fault.Message(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(plain); err == nil {
		t.Error("a refused device left a file")
	}
	if got := h.Devices(); len(got) != 0 {
		t.Errorf("enabled: %v", got)
	}
}

func TestFileModes(t *testing.T) {
	dir := t.TempDir()
	h := newHouse(t, nil)
	for i, c := range []struct {
		mode string
		have os.FileMode
		want os.FileMode
	}{{"", 0, 0o600}, {"0640", 0, 0o640}, {"", 0o644, 0o644}, {"0600", 0o644, 0o600}, {"0000", 0o644, 0o644}} {
		path := filepath.Join(dir, "sub", fmt.Sprint(i))
		if c.have != 0 {
			if err := os.WriteFile(path, nil, c.have); err != nil {
				t.Fatal(err)
			}
		}
		h.enable(t, fmt.Sprint(i), map[string]string{"file_path": path, "mode": c.mode})
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != c.want {
			t.Errorf("%+v: %v %v", c, fi.Mode(), err)
		}
	}
}

func TestTwoDevicesDoNotShareAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	h := newHouse(t, nil)
	h.enable(t, "a", map[string]string{"file_path": path})
	err := h.Enable(t.Context(), audit.Device{Path: "b", Type: "file", Options: map[string]string{"path": path + "/../log"}})
	if !errors.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
	h.enable(t, "c", map[string]string{"file_path": "discard"})
	h.enable(t, "d", map[string]string{"file_path": "discard"})
}

// G6: a raw device does not make others raw, in whatever order they stand.
func TestRawIsADevicesOwn(t *testing.T) {
	dir := t.TempDir()
	h := newHouse(t, nil)
	h.enable(t, "a", map[string]string{"file_path": dir + "/a"})
	h.enable(t, "b", map[string]string{"file_path": dir + "/b", "log_raw": "true"})
	h.enable(t, "c", map[string]string{"file_path": dir + "/c"})
	request, response := sampleRead()
	for range 3 {
		for _, r := range []*audit.Record{request, response} {
			if err := h.Log(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.stop()
	for name, raw := range map[string]bool{"a": false, "b": true, "c": false} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"s3cr3t-canary", "hvs.CAESIJ", "8609694a"} {
			if strings.Contains(string(b), secret) != raw {
				t.Errorf("%s: %q: in clear %v, want %v", name, secret, !raw, raw)
			}
		}
	}
}

func TestFullDiskFailsClosed(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full here")
	}
	full := func(audit.Device) (audit.Sink, error) { return &fullSink{}, nil }
	h := newHouse(t, func(c *audit.Config) { c.Openers = map[string]audit.Opener{"full": full} })
	h.enable(t, "full", map[string]string{"type": "full"})
	for i := range 3 {
		if err := h.log(t, fmt.Sprint(i)); !errors.Is(err, fault.Unavailable) {
			t.Errorf("got %v", err)
		}
	}
}

// fullSink writes to the device that is always full.
type fullSink struct{ f *os.File }

func (s *fullSink) Open() (t audit.Tail, err error) {
	s.f, err = os.OpenFile("/dev/full", os.O_WRONLY, 0)
	return t, err
}
func (s *fullSink) Write(p []byte) (int, error) { return s.f.Write(p) }
func (s *fullSink) Sync() error                 { return s.f.Sync() }
func (s *fullSink) Close() error                { return s.f.Close() }
