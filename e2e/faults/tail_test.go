package faults_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDamagedLog kills the server and damages copies of its log. Cut anywhere
// near its end, the log gives back a prefix of what was written; damaged in the
// middle it is refused by name. Neither makes anything up.
func TestDamagedLog(t *testing.T) {
	n := newNode(t, place{})
	n.showLog()
	n.call(http.MethodPost, "sys/mounts/secret", n.Root, object{"type": "kv", "options": object{"version": "2"}}).must(t, 204)
	w := &secretWorker{n: n, path: "secret/data/a"}
	for range 300 {
		if _, err := w.work(background()); err != nil {
			t.Fatal(err)
		}
	}
	n.kill()
	segment := newest(t, filepath.Join(n.Data, "log"))
	content, err := os.ReadFile(filepath.Join(n.Data, "log", segment))
	if err != nil {
		t.Fatal(err)
	}
	written := len(bytes.TrimRight(content, "\x00"))

	t.Run("cut", func(t *testing.T) {
		versions := map[int]bool{}
		for i := range 20 {
			cut := written - 1 - i*i*written/500 // from the last byte to a third of it
			_, started, version := n.startDamaged(t, segment, content[:cut])
			if !started {
				t.Errorf("cut at %d of %d: it does not start", cut, written)
			}
			if version > w.version {
				t.Errorf("cut at %d of %d: version %d is there, the last was %d", cut, written, version, w.version)
			}
			versions[version] = true
		}
		if len(versions) < 10 {
			t.Errorf("the cuts left only %d different versions", len(versions))
		}
	})
	t.Run("damaged in the middle", func(t *testing.T) {
		for range 5 {
			at := written/4 + rand.N(written/4)
			damaged := slices.Clone(content)
			for i := range 16 {
				damaged[at+i] ^= 0x55
			}
			output, started, _ := n.startDamaged(t, segment, damaged)
			if started || !strings.Contains(output, segment) {
				t.Errorf("damaged at %d of %d: started: %t, and the file is not named in\n%s", at, written, started, output)
			}
		}
	})
}

// startDamaged starts a server on a copy of the storage with another segment of
// the log, and returns the version of the secret that it has.
func (n *node) startDamaged(t *testing.T, segment string, content []byte) (output string, started bool, version int) {
	t.Helper()
	other := makeNode(t, place{})
	if out, err := exec.Command("cp", "-a", "--sparse=always", n.Data, other.Data).CombinedOutput(); err != nil {
		t.Fatalf("copying the storage: %v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(other.Data, "log", segment), content, 0o600); err != nil {
		t.Fatal(err)
	}
	other.Key, other.Root = n.Key, n.Root
	defer other.kill()
	if err := other.tryStart(); err != nil {
		if !errors.Is(err, errEnded) {
			t.Fatal(err)
		}
		return err.Error(), false, 0
	}
	other.unseal()
	v, err := readVersion(other, "secret/data/a")
	if err != nil || v.Data.N != v.Metadata.Version {
		t.Errorf("version %d with value %d is there (%v)", v.Metadata.Version, v.Data.N, err)
	}
	return "", true, v.Metadata.Version
}

// newest returns the name of the segment of the log that was written last.
func newest(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no segment of the log in %s (%v)", dir, err)
	}
	slices.Sort(found)
	return filepath.Base(found[len(found)-1])
}
