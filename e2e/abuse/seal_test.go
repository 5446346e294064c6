package abuse_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
)

// TestI4_FilesAreTheServersOwn: with a umask of zero, every file that the server
// makes is its own to read and write and nobody else's.
func TestI4_FilesAreTheServersOwn(t *testing.T) {
	old := syscall.Umask(0) // the process's; this test runs alone
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "data")
	audit := filepath.Join(t.TempDir(), "logs", "audit.log")
	if err := os.Mkdir(filepath.Dir(audit), 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "coffer.sock")
	w := newWorld(t, servertest.Options{Dir: dir, Change: func(c *config.Config) {
		l := c.Listeners[0]
		l.Type, l.Address, l.TLS.Disabled = "unix", socket, true
		c.Listeners = append(c.Listeners, l)
	}})
	w.Must(http.StatusNoContent, http.MethodPost, "sys/audit/more", map[string]any{"type": "file", "options": map[string]string{"file_path": audit}})
	for i := range 50 {
		w.Must(http.StatusOK, http.MethodPost, fmt.Sprintf("secret/data/x%d", i), map[string]any{"data": map[string]string{"k": canary}})
	}
	seen := 0
	look := func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // the store has tidied up meanwhile
			}
			return err
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // gone meanwhile
		}
		seen++
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got&^want != 0 {
			t.Errorf("%s has mode %v, want at most %v", filepath.Base(path), got, want)
		}
		return nil
	}
	for _, root := range []string{dir, audit, w.AuditLog, socket} {
		if err := filepath.WalkDir(root, look); err != nil {
			t.Fatal(err)
		}
	}
	if seen < 6 {
		t.Errorf("only %d files were looked at", seen)
	}
}

// TestT1_I2_NothingReadableAtRest looks for secrets, tokens and keys in every
// byte of the data directory.
func TestT1_NothingReadableAtRest(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, servertest.Options{Dir: dir})
	w.Must(http.StatusOK, http.MethodPost, "secret/data/x", map[string]any{"data": map[string]string{"k": canary}})
	w.Must(http.StatusNoContent, http.MethodPost, "cubbyhole/x", map[string]string{"k": canary})
	w.user("ann", canary+"-pw", nil)
	child, accessor := w.create(map[string]any{"policies": []string{"default"}, "meta": map[string]string{"k": canary}})
	w.Must(http.StatusOK, http.MethodGet, "secret/data/x", nil, "X-Vault-Wrap-TTL", "1h")
	secrets := append([]string{canary, child}, w.Keys...)
	for _, k := range w.Keys {
		raw, err := base64.StdEncoding.DecodeString(k)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, string(raw))
	}
	keys := w.Keys
	look := func() {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, s := range secrets {
				if strings.Contains(string(b), s) {
					t.Errorf("%s holds a secret in clear", e.Name())
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.Stop()
	look()
	w = openWorld(t, servertest.Options{Dir: dir})
	w.Keys = keys
	w.unseal()
	w.Must(http.StatusOK, http.MethodGet, "secret/data/x", nil)
	w.Must(http.StatusOK, http.MethodPost, "auth/token/lookup-accessor", map[string]any{"accessor": accessor})
	w.Stop()
	look()
}

// TestI6_SharesSurviveRotations: after each kind of rotation, the shares that
// are said to be valid unseal and no others do.
func TestI6_SharesSurviveRotations(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.Must(http.StatusOK, http.MethodPost, "secret/data/x", map[string]any{"data": map[string]string{"k": "v"}})
	read := func() {
		w.Must(http.StatusOK, http.MethodGet, "secret/data/x", nil)
	}
	for _, path := range []string{"sys/rotate", "sys/rotate/keyring", "sys/rotate/root"} {
		if a := w.Do(http.MethodPost, path, servertest.RootToken, nil); a.Status/100 != 2 {
			t.Fatalf("POST %s: %s", path, a)
		}
		w.reseal()
		read()
	}
	old := w.Keys
	a := w.Must(http.StatusOK, http.MethodPost, "sys/rotate/root/init", map[string]any{"secret_shares": 3, "secret_threshold": 2})
	nonce := nonceOf(a)
	for _, k := range old[:2] {
		a = w.Must(http.StatusOK, http.MethodPost, "sys/rotate/root/update", map[string]any{"key": k, "nonce": nonce})
	}
	w.Keys = list(a.Data()["keys_base64"])
	if len(w.Keys) == 0 {
		w.Keys = list(a.JSON()["keys_base64"])
	}
	if len(w.Keys) != 3 {
		t.Fatalf("the change of shares gave %s", a)
	}
	w.Must(http.StatusNoContent, http.MethodPut, "sys/seal", nil)
	for _, k := range old[:2] {
		w.Do(http.MethodPut, "sys/unseal", "", map[string]any{"key": k})
	}
	if w.Gate() != nil {
		t.Error("the old shares unseal after they were replaced")
	}
	w.Do(http.MethodPut, "sys/unseal", "", map[string]any{"reset": true})
	w.unseal()
	read()
}

// TestS10_SpaceIsReclaimed overwrites a little data many times: the folder stays
// small.
func TestS10_SpaceIsReclaimed(t *testing.T) {
	if testing.Short() {
		t.Skip("writes for some seconds")
	}
	dir := t.TempDir()
	w := newWorld(t, servertest.Options{Dir: dir, NoAudit: true})
	const rows, size, rounds = 64, 64 << 10, 30
	value := make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	key := func(i int) store.Key {
		return store.NewKey(store.RootNamespace, 99, 1, fmt.Sprint(i))
	}
	for range rounds {
		for i := 0; i < rows; i += 8 {
			_, err := w.Gate().Store.Update(context.Background(), func(tx store.Txn) error {
				for j := i; j < i+8; j++ {
					_, _ = random.Read(value) // never fails
					if err := tx.Put(key(j), append([]byte(nil), value...)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	w.Stop()
	var total int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// What has been written since the last snapshot is in the log too, whatever
	// little is live: the bound is on what is kept of all that was written.
	written := int64(rounds * rows * size)
	t.Logf("%d MiB written, %d MiB live, %d MiB on disk", written>>20, rows*size>>20, total>>20)
	if total > written/2+64<<20 {
		t.Errorf("%d MiB on disk after writing %d MiB", total>>20, written>>20)
	}
}
