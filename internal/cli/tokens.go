package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl"

	"github.com/cofferhq/coffer/api"
)

// tokenStore keeps the token between commands.
type tokenStore interface {
	Get(ctx context.Context) (string, error)
	Store(ctx context.Context, token string) error
	Erase(ctx context.Context) error
}

// tokens returns the token helper that the user's configuration names, else
// the token file.
func (c *call) tokens() tokenStore {
	helper, err := c.helperPath()
	switch {
	case err != nil:
		return brokenStore{err}
	case helper != "":
		return &helperProgram{path: helper}
	}
	path := c.tokenPath()
	if path == "" {
		return noStore{}
	}
	return tokenFile(path)
}

// home returns the user's home directory, empty when the environment has none.
func (a *App) home() string {
	if home := a.Env("HOME"); home != "" {
		return home
	}
	return a.Env("USERPROFILE")
}

// noStore is the store of a user without a home directory: there is no token,
// and no falling back to a file in whatever directory the command runs in.
type noStore struct{}

func (noStore) Get(context.Context) (string, error) { return "", nil }
func (noStore) Erase(context.Context) error         { return nil }

func (noStore) Store(context.Context, string) error {
	return errors.New("HOME is not set: use -no-store, or name a file in VAULT_TOKEN_PATH")
}

// brokenStore reports why the configured store cannot be used.
type brokenStore struct{ err error }

func (b brokenStore) Get(context.Context) (string, error) { return "", b.err }
func (b brokenStore) Store(context.Context, string) error { return b.err }
func (b brokenStore) Erase(context.Context) error         { return b.err }

// tokenPath is the file named in the environment, else ~/.coffer-token where
// that exists, else the ~/.vault-token that other tools share. It is empty when
// there is no home directory.
func (c *call) tokenPath() string {
	if path, _ := api.LookupEnv(c.Env, "TOKEN_PATH"); path != "" {
		return path
	}
	home := c.home()
	if home == "" {
		return ""
	}
	own := filepath.Join(home, ".coffer-token")
	if _, err := os.Stat(own); err == nil {
		return own
	}
	return filepath.Join(home, ".vault-token")
}

// helperPath reads the token_helper setting of ~/.coffer or ~/.vault.
func (c *call) helperPath() (string, error) {
	var candidates []string
	if home := c.home(); home != "" {
		candidates = []string{filepath.Join(home, ".coffer"), filepath.Join(home, ".vault")}
	}
	if path, _ := api.LookupEnv(c.Env, "CONFIG_PATH"); path != "" {
		candidates = []string{path}
	}
	for _, path := range candidates {
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			continue
		}
		text, err := readFile(path)
		if err != nil {
			return "", err
		}
		var cfg struct {
			TokenHelper string `hcl:"token_helper"`
		}
		if err := hcl.Decode(&cfg, string(text)); err != nil {
			return "", fmt.Errorf("reading %s: %w", path, err)
		}
		if cfg.TokenHelper != "" && !filepath.IsAbs(cfg.TokenHelper) {
			return "", fmt.Errorf("token_helper in %s is not an absolute path", path)
		}
		return cfg.TokenHelper, nil
	}
	return "", nil
}

// tokenFile is a file that only its owner can read.
type tokenFile string

func (f tokenFile) Get(context.Context) (string, error) {
	text, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// Store replaces the file in one step, so that no other command reads half a
// token and none inherits the old file's permissions.
func (f tokenFile) Store(_ context.Context, token string) error {
	tmp, err := os.CreateTemp(filepath.Dir(string(f)), filepath.Base(string(f))+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	// CreateTemp makes the file with mode 0600.
	if _, err := tmp.WriteString(token); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), string(f))
}

func (f tokenFile) Erase(context.Context) error {
	if err := os.Remove(string(f)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// helperProgram is an external program called with get, store or erase. It
// receives the token on its standard input and answers on its standard output.
type helperProgram struct{ path string }

func (h *helperProgram) Get(ctx context.Context) (string, error) { return h.run(ctx, "get", "") }

func (h *helperProgram) Store(ctx context.Context, token string) error {
	_, err := h.run(ctx, "store", token)
	return err
}

func (h *helperProgram) Erase(ctx context.Context) error {
	_, err := h.run(ctx, "erase", "")
	return err
}

func (h *helperProgram) run(ctx context.Context, verb, input string) (string, error) {
	cmd := exec.CommandContext(ctx, h.path, verb)
	cmd.Stdin = strings.NewReader(input)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		if said := strings.TrimSpace(complaint.String()); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return "", fmt.Errorf("running the token helper %s %s: %w", h.path, verb, err)
	}
	return strings.TrimSpace(out.String()), nil
}
