package serve_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/cli"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/serve"
)

// files returns the contents of a folder's files whose names begin with prefix.
func files(t *testing.T, dir, prefix string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, string(text))
		}
	}
	return list
}

func TestLogFilesRotate(t *testing.T) {
	for name, tt := range map[string]struct {
		config config.Log
		want   []string // of the files, those moved away first
	}{
		"never":                {config.Log{}, []string{"1\n2\n3\n4\n"}},
		"by size":              {config.Log{RotateBytes: 4}, []string{"1\n2\n", "3\n4\n"}},
		"by age":               {config.Log{RotateDuration: 2 * time.Hour}, []string{"1\n2\n", "3\n4\n"}},
		"every line":           {config.Log{RotateBytes: 1}, []string{"1\n", "2\n", "3\n", "4\n"}},
		"one old file is kept": {config.Log{RotateBytes: 1, RotateMaxFiles: 1}, []string{"3\n", "4\n"}},
		"none is kept":         {config.Log{RotateBytes: 1, RotateMaxFiles: -1}, []string{"4\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "with [brackets]*")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			// Files of others that a careless pattern would take for old logs.
			others := []string{"a-1x.log", "a-1-notes.log", "a-2.txt"}
			for _, name := range others {
				if err := os.WriteFile(filepath.Join(dir, name), []byte("other"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			tt.config.File = filepath.Join(dir, "a.log")
			clk := clock.NewFake(time.Time{})
			out, _, err := serve.LogFile(tt.config, clk)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			for _, line := range []string{"1\n", "2\n", "3\n", "4\n"} {
				if _, err := io.WriteString(out, line); err != nil {
					t.Fatal(err)
				}
				clk.Advance(time.Hour)
			}
			var got []string
			for _, text := range append(files(t, dir, "a-"), files(t, dir, "a.log")...) {
				if text != "other" {
					got = append(got, text)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			for _, name := range others {
				if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
					t.Errorf("a file that is no log was removed: %v", err)
				}
			}
			if st, err := os.Stat(tt.config.File); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("the file's mode is %v, %v", st.Mode(), err)
			}
		})
	}
}

func TestALogFileThatWasMovedAwayIsOpenedAnew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	out, reopen, err := serve.LogFile(config.Log{File: path}, clock.NewFake(time.Time{}))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	_, _ = io.WriteString(out, "before\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := reopen(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(out, "after\n")
	if diff := cmp.Diff([]string{"after\n", "before\n"}, files(t, dir, "a.log")); diff != "" {
		t.Error(diff)
	}
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir + ".gone") })
	if err := reopen(); err == nil {
		t.Error("a file in a folder that is gone was opened")
	}
	if _, err := io.WriteString(out, "still\n"); err != nil {
		t.Errorf("the old file is given up: %v", err)
	}
}

// run runs a command and returns its status and what it wrote.
func run(ctx context.Context, command func(context.Context, []string, cli.Stdio) int, args ...string) (status int, out, errs string) {
	var o, e bytes.Buffer
	status = command(ctx, args, cli.Stdio{In: strings.NewReader(""), Out: &o, Err: &e})
	return status, o.String(), e.String()
}

func TestServerCommand(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.hcl", `storage "inmem" {}
listener "tcp" {
  address     = "127.0.0.1:8200"
  tls_disable = true
}
`)
	bad := write("bad.hcl", `listener "carrier-pigeon" {}`)
	for name, tt := range map[string]struct {
		args      []string
		status    int
		out, errs string
	}{
		"nothing to go by":  {nil, 1, "", "-config"},
		"help":              {[]string{"-help"}, 0, "", "dev-root-token-id"},
		"an unknown flag":   {[]string{"-bogus"}, 1, "", "bogus"},
		"a good file":       {[]string{"-config", good, "-validate"}, 0, "valid", ""},
		"a bad file":        {[]string{"-config", bad, "-validate"}, 1, "", "carrier-pigeon"},
		"no file":           {[]string{"-config", filepath.Join(dir, "none.hcl")}, 1, "", "none.hcl"},
		"a bad level":       {[]string{"-config", good, "-validate", "-log-level=loud"}, 1, "", "-log-level"},
		"a bad format":      {[]string{"-config", good, "-validate", "-log-format=xml"}, 1, "", "-log-format"},
		"a log that is not": {[]string{"-config", good, "-log-file", filepath.Join(dir, "none", "x.log")}, 1, "", "x.log"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, errs := run(context.Background(), serve.Server, tt.args...)
			if status != tt.status || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.errs) {
				t.Errorf("got %d\n%s\n%s", status, out, errs)
			}
		})
	}
}

// stopper is the output of a server that ends its context once it is greeted.
type stopper struct {
	bytes.Buffer
	stop context.CancelFunc
}

func (s *stopper) Write(p []byte) (int, error) {
	defer s.stop()
	return s.Buffer.Write(p)
}

func TestADevelopmentServerStartsAndStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := &stopper{stop: cancel}
	var errs bytes.Buffer
	log := filepath.Join(t.TempDir(), "server.log")
	status := serve.Server(ctx, []string{"-dev", "-dev-listen-address=127.0.0.1:0", "-dev-no-store-token", "-dev-root-token-id=own", "-log-file", log}, cli.Stdio{In: strings.NewReader(""), Out: out, Err: &errs})
	if status != 0 || !strings.Contains(out.String(), "Root Token: own") {
		t.Errorf("got %d\n%s\n%s", status, out, errs.String())
	}
	text, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(text), "stopping") || strings.Contains(string(text), "own\n") {
		t.Errorf("the log: %s, %v", text, err)
	}
}

func TestOtherCommandsWantTheirArguments(t *testing.T) {
	for name, tt := range map[string]struct {
		command func(context.Context, []string, cli.Stdio) int
		args    []string
		status  int
	}{
		"diagnose without files":  {serve.Diagnose, nil, 3},
		"diagnose, help":          {serve.Diagnose, []string{"-help"}, 0},
		"verify without files":    {serve.VerifyAudit, nil, 1},
		"verify with a bad key":   {serve.VerifyAudit, []string{"-public-key=x", "log"}, 1},
		"verify what there isn't": {serve.VerifyAudit, []string{filepath.Join(t.TempDir(), "none")}, 1},
		"verify, help":            {serve.VerifyAudit, []string{"-h"}, 0},
	} {
		if status, out, errs := run(context.Background(), tt.command, tt.args...); status != tt.status {
			t.Errorf("%s: got %d\n%s\n%s", name, status, out, errs)
		}
	}
}
